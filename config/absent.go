package config

import "slices"

// dropAbsent removes optional members that mean the same as a missing key: those of null, and with emptyToo those
// of "". Tools that fill in templates write them (Puppet, the mirror lists of Arch and Kiwix). part is the piece of
// the schema that describes n.
func (c *checker) dropAbsent(n *node, part map[string]any, emptyToo bool) {
	part = c.rules.follow(part)
	if items, ok := part["items"].(map[string]any); ok && !n.isObject() {
		for _, item := range n.order {
			c.dropAbsent(item, items, emptyToo)
		}
	}
	properties, ok := part["properties"].(map[string]any)
	if !ok || !n.isObject() {
		return
	}
	required, _ := part["required"].([]any)
	n.order = slices.DeleteFunc(n.order, func(m *node) bool {
		absent := m.isNull() || emptyToo && m.value == ""
		return absent && properties[m.name] != nil && !slices.Contains(required, any(m.name))
	})
	for _, m := range n.order {
		if property, ok := properties[m.name].(map[string]any); ok {
			c.dropAbsent(m, property, emptyToo)
		}
	}
}
