package wire

// TrustedNetworksConfigured makes the extension by which an internal home agent says that it serves trusted networks
// only (RFC 5265 §3.4): type 149, length 2, sub-type 0, reserved 0.
func TrustedNetworksConfigured() Extension {
	return Extension{Type: ExtTrustedNetworksConfigured, Data: []byte{0, 0}}
}

// IsTrustedNetworksConfigured reports whether e is that extension: length 2 and sub-type 0; the reserved octet is
// ignored. Where it stands is for the caller to judge.
func IsTrustedNetworksConfigured(e Extension) bool {
	return e.short(ExtTrustedNetworksConfigured, 2, 0) == nil
}
