package dns

import "strings"

// policyNames returns what a rule of Windows' name resolution policy table is about: each domain with a dot in front, which stands for
// it and all below; a dot alone for all names.
func policyNames(p Plan) []string {
	if p.Full {
		return []string{"."}
	}
	var names []string
	for _, d := range append(append([]string(nil), p.Domains...), p.Reverse...) {
		names = append(names, "."+strings.TrimSuffix(d, "."))
	}
	return names
}
