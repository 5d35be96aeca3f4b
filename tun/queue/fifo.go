package queue

// keep is how many elements' room is kept while the queue is empty.
const keep = 256

// FIFO hands elements out in the order in which they came. The zero value is empty.
type FIFO[T any] struct {
	elements []T
	first    int
}

// Push puts an element behind the others.
func (q *FIFO[T]) Push(e T) {
	if len(q.elements) == cap(q.elements) && q.first > len(q.elements)/2 {
		n := copy(q.elements, q.elements[q.first:]) // in the room of what is out
		clear(q.elements[n:])
		q.elements, q.first = q.elements[:n], 0
	}
	q.elements = append(q.elements, e)
}

// Len returns how many elements wait.
func (q *FIFO[T]) Len() int { return len(q.elements) - q.first }

// Pop takes out the oldest element, and returns false when there is none.
func (q *FIFO[T]) Pop() (T, bool) {
	var none T
	if q.first == len(q.elements) {
		return none, false
	}
	e := q.elements[q.first]
	q.elements[q.first] = none
	q.first++
	switch {
	case q.first < len(q.elements):
	case cap(q.elements) > keep:
		*q = FIFO[T]{}
	default:
		q.elements, q.first = q.elements[:0], 0
	}
	return e, true
}
