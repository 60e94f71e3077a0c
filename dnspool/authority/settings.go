package authority

import "mirrorpool/config"

// SetConfig makes the zone that the next Publish makes follow c: the pool's names, the nameservers, the
// hostmaster, TTLs and the number of answers; and what the zone file holds, if there is one. All else stays as it was at Listen. It must not be called at
// the same time as Publish.
func (s *Server) SetConfig(c config.DNS, static *Static) { s.config, s.static = c, static }
