package credential

import (
	"testing"
)

// tssExample is the form of a key file, with nothing in it that a TPM would take.
func tssExample() []byte {
	return []byte{0x30, 0x17, 0x06, 6, 0x67, 0x81, 0x05, 0x0a, 0x01, 0x03, 0xa0, 3, 1, 1, 0xff, 2, 4, 0x40, 0, 0, 1, 4, 0, 4, 0}
}

func TestTSSFiles(t *testing.T) {
	k, err := parseTSS(tssExample())
	if err != nil || !k.emptyAuth || k.parent != 0x40000001 {
		t.Errorf("%+v, %v", k, err)
	}
	for i := range tssExample() {
		if _, err := parseTSS(tssExample()[:i]); err == nil {
			t.Errorf("the first %d octets were taken", i)
		}
	}
	for value, want := range map[byte]bool{0: false, 1: true, 0xff: true} { // tpm2-openssl writes 1
		loose := tssExample()
		loose[14] = value
		if k, err := parseTSS(loose); err != nil || k.emptyAuth != want {
			t.Errorf("emptyAuth %#x: %v, %v", value, k.emptyAuth, err)
		}
	}
	policy := tssExample()
	policy[10] = 0xa1
	if _, err := parseTSS(policy); err == nil {
		t.Error("a key with a policy was taken")
	}
	if _, err := parseTSS(append(tssExample(), 0)); err == nil {
		t.Error("something behind the key was passed over")
	}
}
