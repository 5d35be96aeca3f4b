package soak

import (
	"sync"

	"mipvpn/detect/suspend"
)

// loginManager announces sleep to the client, where there is one.
type loginManager struct {
	present bool
	mu      sync.Mutex
	handler *suspend.Handler
}

// Watch implements suspend.Source.
func (m *loginManager) Watch(h suspend.Handler) (stop func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.handler = &h
	return func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		if m.handler == &h {
			m.handler = nil
		}
	}
}

func (m *loginManager) told() *suspend.Handler {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.handler
}

// prepare announces sleep and waits until the client is ready for it.
func (m *loginManager) prepare() {
	if h := m.told(); h != nil {
		h.Prepare()
	}
}

// resumed tells of the end of sleep.
func (m *loginManager) resumed() {
	if h := m.told(); h != nil {
		h.Resumed()
	}
}
