package credential

import (
	"encoding/asn1"
	"errors"
	"fmt"
)

// tssKey is a TPM 2.0 key file (ASN.1 specification for TPM 2.0 key files, §3.1):
//
//	TPMKey ::= SEQUENCE {
//	    type        OBJECT IDENTIFIER,
//	    emptyAuth   [0] EXPLICIT BOOLEAN OPTIONAL,
//	    policy      [1] EXPLICIT SEQUENCE OF TPMPolicy OPTIONAL,
//	    secret      [2] EXPLICIT OCTET STRING OPTIONAL,
//	    authPolicy  [3] EXPLICIT SEQUENCE OF TPMAuthPolicy OPTIONAL,
//	    parent      INTEGER,
//	    pubkey      OCTET STRING,
//	    privkey     OCTET STRING }
type tssKey struct {
	emptyAuth       bool
	parent          uint32
	public, private []byte // TPM2B_PUBLIC, TPM2B_PRIVATE
}

// oidLoadableKey is id-loadablekey.
var oidLoadableKey = asn1.ObjectIdentifier{2, 23, 133, 10, 1, 3}

// parseTSS reads the content of a TSS2 PRIVATE KEY.
func parseTSS(der []byte) (tssKey, error) {
	var fields []asn1.RawValue
	if rest, err := asn1.Unmarshal(der, &fields); err != nil || len(rest) > 0 {
		return tssKey{}, fmt.Errorf("TPM key file: want one SEQUENCE in DER: %w", errors.Join(err, trailing(rest)))
	}
	var k tssKey
	var kind asn1.ObjectIdentifier
	if len(fields) < 4 {
		return k, fmt.Errorf("TPM key file: %d fields, want at least 4", len(fields))
	}
	if _, err := asn1.Unmarshal(fields[0].FullBytes, &kind); err != nil || !kind.Equal(oidLoadableKey) {
		return k, fmt.Errorf("TPM key file: type %v, want a loadable key (%v)", kind, oidLoadableKey)
	}
	at := 1
	for ; at < len(fields) && fields[at].Class == asn1.ClassContextSpecific; at++ {
		if fields[at].Tag != 0 {
			return k, fmt.Errorf("TPM key file: field [%d]: keys with policies and importable ones are not supported", fields[at].Tag)
		}
		// The specification wants DER, and the programs that are there write any octet but 0 for true.
		b := fields[at].Bytes
		if len(b) != 3 || b[0] != asn1.TagBoolean || b[1] != 1 {
			return k, fmt.Errorf("TPM key file: emptyAuth: want a BOOLEAN, found %x", b)
		}
		k.emptyAuth = b[2] != 0
	}
	if len(fields) != at+3 {
		return k, fmt.Errorf("TPM key file: %d fields behind the optional ones, want parent, pubkey and privkey", len(fields)-at)
	}
	var parent int64
	if _, err := asn1.Unmarshal(fields[at].FullBytes, &parent); err != nil {
		return k, fmt.Errorf("TPM key file: parent: %w", err)
	}
	// Some programs write handles as signed numbers of 32 bits.
	if parent < -1<<31 || parent > 1<<32-1 {
		return k, fmt.Errorf("TPM key file: parent %d is no handle", parent)
	}
	k.parent = uint32(parent)
	if _, err := asn1.Unmarshal(fields[at+1].FullBytes, &k.public); err != nil {
		return k, fmt.Errorf("TPM key file: pubkey: %w", err)
	}
	if _, err := asn1.Unmarshal(fields[at+2].FullBytes, &k.private); err != nil {
		return k, fmt.Errorf("TPM key file: privkey: %w", err)
	}
	return k, nil
}

func trailing(rest []byte) error {
	if len(rest) == 0 {
		return nil
	}
	return fmt.Errorf("%d octets follow it", len(rest))
}
