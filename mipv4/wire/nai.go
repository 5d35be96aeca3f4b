package wire

import "fmt"

// NAI makes the Mobile Node NAI extension (RFC 2794 §2): type 131, length, the identifier in UTF-8 as it is. Errors wrap
// ErrExtension when the identifier is empty or longer than 255 octets.
func NAI(nai string) (Extension, error) {
	if len(nai) == 0 || len(nai) > maxExtensionData {
		return Extension{}, fmt.Errorf("%w: a NAI of %d octets, 1 to %d are possible", ErrExtension, len(nai), maxExtensionData)
	}
	return Extension{Type: ExtMobileNodeNAI, Data: []byte(nai)}, nil
}

// ParseNAI reads a Mobile Node NAI extension. Errors wrap ErrExtension.
func ParseNAI(e Extension) (string, error) {
	if e.Type != ExtMobileNodeNAI {
		return "", fmt.Errorf("%w: expected %v, found %v", ErrExtension, ExtMobileNodeNAI, e.Type)
	}
	if len(e.Data) == 0 {
		return "", fmt.Errorf("%w: %v is empty", ErrExtension, e.Type)
	}
	return string(e.Data), nil
}
