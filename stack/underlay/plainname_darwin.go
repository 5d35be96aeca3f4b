package underlay

import "strings"

// deviceName returns the name to ask a TUN device by: on darwin utunN, or none.
func deviceName(name string) string {
	if strings.HasPrefix(name, "utun") {
		return name
	}
	return ""
}
