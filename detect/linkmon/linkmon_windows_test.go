package linkmon

import "testing"

// TestSystem has the IP helper API say what there is, whatever that be, and tell of changes until it is told to stop.
func TestSystem(t *testing.T) {
	m := New()
	list, err := m.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	for i, n := range list {
		if n.Index == 0 || n.Name == "" || n.MTU < 576 || i > 0 && list[i-1].Index >= n.Index {
			t.Errorf("interface %+v", n)
		}
	}
	stop, err := m.Watch(func() {})
	if err != nil {
		t.Fatal(err)
	}
	stop()
	stop()
}
