package queue

import "testing"

func TestOrder(t *testing.T) {
	var q FIFO[int]
	next, want := 0, 0
	for round := range 100 {
		for range round * 7 {
			q.Push(next)
			next++
		}
		for range round * 5 { // some stay behind
			if e, ok := q.Pop(); ok {
				if e != want {
					t.Fatalf("%d, want %d", e, want)
				}
				want++
			}
		}
	}
	for e, ok := q.Pop(); ok; e, ok = q.Pop() {
		if e != want {
			t.Fatalf("%d, want %d", e, want)
		}
		want++
	}
	if want != next || q.Len() != 0 {
		t.Errorf("%d of %d came out, %d are left", want, next, q.Len())
	}
	if cap(q.elements) > keep {
		t.Errorf("room for %d is kept, want at most %d", cap(q.elements), keep)
	}
}

func TestEmptiedAllocatesNothing(t *testing.T) {
	var q FIFO[*int]
	v := new(int)
	q.Push(v)
	q.Pop()
	if n := testing.AllocsPerRun(100, func() { q.Push(v); q.Pop() }); n != 0 {
		t.Errorf("%v allocations, want 0", n)
	}
}

// A queue that is never empty does not grow by what has left it.
func TestNeverEmptied(t *testing.T) {
	var q FIFO[int]
	q.Push(0)
	for i := range 100_000 {
		q.Push(i + 1)
		if e, _ := q.Pop(); e != i {
			t.Fatalf("%d, want %d", e, i)
		}
	}
	if cap(q.elements) > 16 {
		t.Errorf("room for %d is kept for one", cap(q.elements))
	}
}
