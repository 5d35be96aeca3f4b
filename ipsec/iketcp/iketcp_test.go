package iketcp

import (
	"bytes"
	"errors"
	"testing"
)

// split gives a stream to a Splitter in pieces of at most step octets.
func split(t *testing.T, originator bool, stream []byte, step int) ([][]byte, error) {
	t.Helper()
	s := NewSplitter(originator)
	var out [][]byte
	for {
		for {
			m, ok, err := s.Next()
			if err != nil {
				if _, _, again := s.Next(); again == nil {
					t.Fatal("the stream goes on after an error")
				}
				return out, err
			}
			if !ok {
				break
			}
			out = append(out, bytes.Clone(m))
		}
		if len(stream) == 0 {
			return out, nil
		}
		space := s.Space()
		if len(space) == 0 {
			t.Fatal("there is no space")
		}
		n := copy(space[:min(len(space), step)], stream)
		stream = stream[n:]
		s.Filled(n)
	}
}

// Shows: IKE-6. RFC 9329 §3, §4, octet by octet.
func TestStream(t *testing.T) {
	q := NewQueue(true, 1<<20)
	longest := bytes.Repeat([]byte{5}, MaxMessage)
	data := [][]byte{{1, 2, 3, 4, 5}, {0xff}, longest, longest, longest}
	for _, m := range data {
		if err := q.Push(m, false); err != nil {
			t.Fatal(err)
		}
	}
	ike := []byte{0, 0, 0, 0, 9, 9}
	if err := q.Push(ike, true); err != nil {
		t.Fatal(err)
	}
	stream := q.Take(nil)
	if want := []byte("IKETCP\x00\x08\x00\x00\x00\x00\x09\x09\x00\x07\x01\x02\x03\x04\x05\x00\x03\xff\xff\xff"); !bytes.HasPrefix(stream, want) {
		t.Fatalf("the stream begins with %x", stream[:len(want)])
	}
	for _, step := range []int{1 << 20, 70000, 1460, 7, 1} {
		got, err := split(t, true, stream, step)
		if err != nil || len(got) != 6 || !bytes.Equal(got[0], ike) {
			t.Fatalf("in pieces of %d: %d messages, %v", step, len(got), err)
		}
		for i, m := range got[1:] {
			if !bytes.Equal(m, data[i]) {
				t.Errorf("in pieces of %d: message %d has %d octets", step, i, len(m))
			}
		}
	}
	if !q.Empty() {
		t.Error("the queue is not empty")
	}
	if err := q.Push([]byte{1}, false); err != nil || !bytes.Equal(q.Take(stream), []byte{0, 3, 1}) {
		t.Error("the prefix is sent once")
	}
}

// Shows: IKE-6, IKE-10
func TestBadStreams(t *testing.T) {
	for _, tc := range []struct {
		name       string
		originator bool
		stream     string
		messages   int
		err        error
	}{
		{"empty", true, "", 0, nil},
		{"half a prefix", true, "IKE", 0, nil},
		{"another protocol", true, "GET / HTTP/1.1\r\n", 0, ErrPrefix},
		{"wrong in its end", true, "IKETCQ", 0, ErrPrefix},
		{"no prefix from the responder", false, "\x00\x03\xff", 1, nil},
		{"an empty message", false, "\x00\x02\x00\x03\xff\x00\x02", 1, nil},
		{"half a message", false, "\x00\x03\xff\x00\x09\x01", 1, nil},
		{"length 0", false, "\x00\x03\xff\x00\x00\x00", 1, ErrLength},
		{"length 1", false, "\x00\x01\x00\x03\xff", 0, ErrLength},
	} {
		got, err := split(t, tc.originator, []byte(tc.stream), 2)
		if len(got) != tc.messages || !errors.Is(err, tc.err) || tc.err == nil && err != nil {
			t.Errorf("%s: %d messages, %v", tc.name, len(got), err)
		}
	}
}

// Shows: IKE-6. Data that is in the way does not keep IKE back.
func TestQueueBounds(t *testing.T) {
	q := NewQueue(false, 1000)
	for range 9 {
		if err := q.Push(make([]byte, 100), false); err != nil {
			t.Fatal(err)
		}
	}
	if err := q.Push(make([]byte, 100), false); !errors.Is(err, ErrFull) {
		t.Errorf("over the bound: %v", err)
	}
	if err := q.Push(make([]byte, MaxMessage), true); err != nil {
		t.Error(err)
	}
	if err := q.Push(make([]byte, MaxMessage+1), true); !errors.Is(err, ErrTooLong) {
		t.Errorf("too long: %v", err)
	}
	n := 0
	for ; q.Push(make([]byte, 1000), true) == nil; n++ {
		if n > 1000 {
			t.Fatal("signalling is not bounded")
		}
	}
	if got, err := split(t, false, q.Take(nil), 4096); err != nil || len(got) != 10+n {
		t.Errorf("%d messages, %v", len(got), err)
	}
}

// FuzzSplitter gives any stream in any pieces: the messages do not depend on the pieces, and put together again they are
// the stream without what is empty.
func FuzzSplitter(f *testing.F) {
	f.Add([]byte("IKETCP\x00\x08\x00\x00\x00\x00\x09\x09"), uint8(3), true)
	f.Add([]byte("\x00\x02\x00\x03\xff\x00\x00"), uint8(1), false)
	f.Fuzz(func(t *testing.T, stream []byte, step uint8, originator bool) {
		whole, err := split(t, originator, stream, 1<<16)
		pieces, again := split(t, originator, stream, int(step)+1)
		if (err == nil) != (again == nil) || len(whole) != len(pieces) {
			t.Fatalf("%d messages and %v in one piece, %d and %v in several", len(whole), err, len(pieces), again)
		}
		total := 0
		q := NewQueue(originator, 1<<20)
		for i, m := range whole {
			if !bytes.Equal(m, pieces[i]) || len(m) == 0 || len(m) > MaxMessage {
				t.Fatalf("message %d", i)
			}
			total += LengthLen + len(m)
			if err := q.Push(m, false); err != nil {
				t.Fatal(err)
			}
		}
		if total > len(stream) {
			t.Fatal("more came out than went in")
		}
		if out, err := split(t, originator, q.Take(nil), 1<<16); err != nil || len(out) != len(whole) {
			t.Fatalf("%d messages again, %v", len(out), err)
		}
	})
}
