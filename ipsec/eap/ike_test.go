package eap

import (
	"bytes"
	"errors"
	"testing"
)

// Shows: IKE-2 (what the events of a method mean to IKE_AUTH).
func TestAnswer(t *testing.T) {
	if a, ok := Answer(Send{Message: []byte{1}}); !ok || a.Done || a.Err != nil || !bytes.Equal(a.Message, []byte{1}) {
		t.Errorf("message: found %+v, %v", a, ok)
	}
	if a, ok := Answer(Finished{Message: []byte{3, 1, 0, 4}, MSK: []byte{7}}); !ok || !a.Done || a.Err != nil || len(a.MSK) != 1 || len(a.Message) != 4 {
		t.Errorf("success: found %+v, %v", a, ok)
	}
	if a, ok := Answer(Finished{Message: []byte{4, 1, 0, 4}, Err: ErrPasswordWrong}); !ok || a.Done || !errors.Is(a.Err, ErrPasswordWrong) || len(a.Message) != 4 {
		t.Errorf("failure: found %+v, %v", a, ok)
	}
	if a, ok := Answer(PasswordWanted{}); ok {
		t.Errorf("a question: found %+v", a)
	}
}
