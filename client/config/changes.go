package config

import (
	"crypto/subtle"
	"reflect"
	"slices"
	"strings"
	"unicode"
)

// tablesOf names the tables of those parts of a Config that are not called like their table.
var tablesOf = map[string]string{"Internal": "internal_home_agent", "External": tableExternal}

// keysOfFields names the keys of those fields of a Config that are not called like their key.
var keysOfFields = map[string]string{
	"mtu.NoProbes":            "probe",
	"internal_home_agent.Key": "key_file", "internal_home_agent.AAAKey": "aaa_key_file", "internal_home_agent.AAASPI": "aaa_spi",
	"internal_home_agent.Network": "address", "internal_home_agent.Name": "address", "internal_home_agent.Dynamic": "address",
	"external_home_agent.Key": "key_file", "external_home_agent.AAAKey": "aaa_key_file", "external_home_agent.AAASPI": "aaa_spi",
	"external_home_agent.Name": "address", "external_home_agent.HomeLink": "home_address", "external_home_agent.Broadcasts": "address", "external_home_agent.Groups": "address",
	"foreign_agent.Key": "key_file",
	"gateway.Name":      "address", "gateway.PSK": "psk_file", "gateway.PPK": "ppk_file", "gateway.PPKID": "ppk_id",
	"gateway.Datagram": "ike_datagram", "gateway.KeepAlive": "keepalive", "gateway.KeepAliveLimit": "keepalive_limit",
	"authentication.Digest": "certificate",
	"trust.AnchorFiles":     "anchors", "trust.IntermediateFiles": "intermediates", "trust.CRLFiles": "crls", "trust.Digest": "anchors",
	"trust.Usage":       "extended_key_usage",
	"detection.Monitor": "t_monitor", "detection.InsideNAIs": "inside_nais",
}

// Changes returns the keys, in the order of the reference, in whose values two configurations differ; what a file of a key holds belongs to
// its value. Secrets are compared in constant time.
func Changes(a, b *Config) []string {
	changed := make(map[string]bool)
	x, y := reflect.ValueOf(a).Elem(), reflect.ValueOf(b).Elem()
	for i := range x.NumField() {
		name := x.Type().Field(i).Name
		switch f := x.Field(i); {
		case name == "Warnings":
		case f.Kind() == reflect.Struct:
			for j := range f.NumField() {
				if differ(f.Field(j), y.Field(i).Field(j)) {
					changed[keyOfField(name, f.Type().Field(j).Name)] = true
				}
			}
		case differ(f, y.Field(i)):
			changed[snake(name)] = true
		}
	}
	if v, w := a.Trust.Verifier, b.Trust.Verifier; v != w && (v == nil || w == nil || a.Trust.Digest == [32]byte{}) {
		changed["trust.anchors"] = true // made by hand, so that there is no digest to go by
	}
	return slices.DeleteFunc(keys(), func(k string) bool { return !changed[k] })
}

// differ reports whether two values of one field differ. A list that is empty is like one that is not there.
func differ(a, b reflect.Value) bool {
	if s, ok := a.Interface().(Secret); ok {
		return subtle.ConstantTimeCompare(s, b.Interface().(Secret)) == 0
	}
	switch a.Kind() {
	case reflect.Pointer:
		return false // Trust.Verifier: its digest tells
	case reflect.Slice:
		if a.Len() == 0 && b.Len() == 0 {
			return false
		}
	}
	return !reflect.DeepEqual(a.Interface(), b.Interface())
}

// keyOfField returns the key of a field of one of the parts of a Config.
func keyOfField(part, name string) string {
	table, ok := tablesOf[part]
	if !ok {
		table = snake(part)
	}
	if key, ok := keysOfFields[table+"."+name]; ok {
		return joinKey(table, key)
	}
	return joinKey(table, snake(name))
}

// snake returns a name as keys are written: HomeAddress is home_address, and IKELifetime ike_lifetime.
func snake(name string) string {
	var out strings.Builder
	runes := []rune(name)
	for i, r := range runes {
		if unicode.IsUpper(r) && i > 0 && (!unicode.IsUpper(runes[i-1]) || i+1 < len(runes) && unicode.IsLower(runes[i+1])) {
			out.WriteByte('_')
		}
		out.WriteRune(unicode.ToLower(r))
	}
	return out.String()
}
