package authority

import "mirrorpool/config"

// SetConfig makes the zone that the next Publish makes follow c, and what the zone file holds, if there is one. Where it
// listens stays as it was at Listen. It must not be called at the same time as Publish.
func (s *Server) SetConfig(c config.DNS, static *Static) { s.config, s.static = c, static }
