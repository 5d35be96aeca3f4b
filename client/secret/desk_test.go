package secret

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"testing/synctest"

	"mipvpn/client/config"
)

// desk has files and programs of a test.
func desk(files map[string]string) *Desk {
	return NewDesk(func(path string) ([]byte, error) {
		s, ok := files[path]
		if !ok {
			return nil, os.ErrNotExist
		}
		return []byte(s), nil
	}, func(_ context.Context, words []string) ([]byte, error) {
		return []byte("printed by " + strings.Join(words, " ") + "\nand more\n"), nil
	})
}

// Shows: IKE-2
func TestSourcesWithoutAPerson(t *testing.T) {
	d := desk(map[string]string{"/pw": "geheim\r\n", "/empty": "\n"})
	defer d.Close()
	for _, c := range []struct {
		from config.SecretSource
		want string
		err  error
	}{
		{"file:/pw", "geheim", nil},
		{"file:/empty", "", ErrEmpty},
		{"file:/missing", "", os.ErrNotExist},
		{"command:/bin/pass vpn", "printed by /bin/pass vpn", nil},
	} {
		name := string(c.from)
		got, err := d.Ask(t.Context(), name, "prompt", c.from)
		if string(got) != c.want || !errors.Is(err, c.err) {
			t.Errorf("%s: %q, %v", c.from, got, err)
		}
		if string(d.Known(name)) != c.want {
			t.Errorf("%s: known %q", c.from, d.Known(name))
		}
	}
	if len(d.Questions()) != 0 {
		t.Error("a person is asked")
	}
}

// Shows: IKE-2
func TestAWrongAnswerIsNotTriedTwice(t *testing.T) {
	files := map[string]string{"/pw": "old"}
	d := desk(files)
	defer d.Close()
	if _, err := d.Ask(t.Context(), "pw", "", "file:/pw"); err != nil {
		t.Fatal(err)
	}
	d.Wrong("pw", "refused")
	if _, err := d.Ask(t.Context(), "pw", "", "file:/pw"); !errors.Is(err, ErrSame) {
		t.Errorf("error %v, want %v", err, ErrSame)
	}
	files["/pw"] = "new"
	if s, err := d.Ask(t.Context(), "pw", "", "file:/pw"); err != nil || string(s) != "new" {
		t.Errorf("%q, %v", s, err)
	}
}

// Shows: IKE-2
func TestAQuestionOutlivesTheAttemptThatAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := desk(nil)
		defer d.Close()
		ctx, cancel := context.WithCancel(t.Context())
		first := make(chan error)
		go func() {
			_, err := d.Ask(ctx, "password of alice", "Password of alice", config.SourceAsk)
			first <- err
		}()
		synctest.Wait()
		q := d.Questions()
		if len(q) != 1 || q[0].Again || q[0].KeyRing || q[0].Prompt != "Password of alice" {
			t.Fatalf("questions %+v", q)
		}
		cancel() // the laptop moves
		if err := <-first; !errors.Is(err, context.Canceled) {
			t.Errorf("error %v", err)
		}
		second := make(chan string)
		go func() {
			s, err := d.Ask(t.Context(), "password of alice", "Password of alice", config.SourceAsk)
			if err != nil {
				t.Error(err)
			}
			second <- string(s)
		}()
		synctest.Wait()
		if again := d.Questions(); len(again) != 1 || again[0].ID != q[0].ID {
			t.Fatalf("the person is asked anew: %+v", again)
		}
		if err := d.Answer(q[0].ID, []byte("geheim")); err != nil {
			t.Fatal(err)
		}
		if got := <-second; got != "geheim" {
			t.Errorf("got %q", got)
		}
		if err := d.Answer(q[0].ID, []byte("x")); !errors.Is(err, ErrNotAsked) {
			t.Errorf("a second answer: %v", err)
		}
		// The next attempt is not asked, until the answer turns out to be wrong.
		if s, err := d.Ask(t.Context(), "password of alice", "", config.SourceAsk); err != nil || string(s) != "geheim" {
			t.Errorf("%q, %v", s, err)
		}
		d.Wrong("password of alice", "no such luck")
		go func() {
			_, err := d.Ask(t.Context(), "password of alice", "", config.SourceKeyRing)
			first <- err
		}()
		synctest.Wait()
		q = d.Questions()
		if len(q) != 1 || !q[0].Again || q[0].Text != "no such luck" || q[0].KeyRing {
			t.Fatalf("questions %+v: want one that is asked again, past the key ring that has the wrong one", q)
		}
		if err := d.Answer(q[0].ID, []byte{}); err == nil {
			t.Error("an empty answer was taken")
		}
		if err := d.Answer(q[0].ID, nil); err != nil {
			t.Error(err)
		}
		if err := <-first; !errors.Is(err, ErrDeclined) {
			t.Errorf("error %v", err)
		}
	})
}

func TestForgetWithdrawsAndWipes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := desk(map[string]string{"/pw": "geheim"})
		if _, err := d.Ask(t.Context(), "known", "", "file:/pw"); err != nil {
			t.Fatal(err)
		}
		kept := d.known["known"]
		changes, cancel := d.Watch()
		defer cancel()
		<-changes
		ended := make(chan error)
		go func() {
			_, err := d.Ask(t.Context(), "open", "", config.SourceKeyRing)
			ended <- err
		}()
		<-changes
		if q := d.Questions(); len(q) != 1 || !q[0].KeyRing {
			t.Fatalf("questions %+v", q)
		}
		d.Forget()
		if err := <-ended; !errors.Is(err, ErrNotAsked) {
			t.Errorf("error %v", err)
		}
		<-changes
		if len(d.Questions()) != 0 || d.Known("known") != nil || strings.Trim(string(kept), "\x00") != "" {
			t.Error("something is left")
		}
		d.Close()
		if _, err := d.Ask(t.Context(), "x", "", "file:/pw"); !errors.Is(err, ErrClosed) {
			t.Errorf("error %v", err)
		}
	})
}

func TestRun(t *testing.T) {
	if _, err := os.Stat("/bin/echo"); err != nil {
		t.Skip("/bin/echo is not there")
	}
	if b, err := Run(t.Context(), []string{"/bin/echo", "geheim; rm -rf"}); err != nil || string(b) != "geheim; rm -rf\n" {
		t.Errorf("%q, %v", b, err)
	}
	for _, words := range [][]string{{"/nowhere/program"}, {"/bin/false"}, {"/bin/echo", strings.Repeat("x", 3*maxSecret)}} {
		if b, err := Run(t.Context(), words); err == nil {
			t.Errorf("%v: %d octets and no error", words[0], len(b))
		}
	}
}
