package pki

import (
	"sync"
	"time"
)

// Bounds of a Cache.
const (
	maxCached       = 64
	maxCachedOctets = 64 << 20
	maxCachedFor    = 7 * 24 * time.Hour
)

// Cache remembers revocation lists and OCSP responses that a Verifier has fetched and found to be true, until their nextUpdate.
// It is bounded. A nil Cache remembers nothing; the zero value is empty.
type Cache struct {
	mu      sync.Mutex
	octets  int
	entries map[string]cached
}

type cached struct {
	der   []byte
	until time.Time
}

// get returns what is remembered, nil for nothing.
func (c *Cache) get(key string, now time.Time) []byte {
	if c == nil {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.entries[key]
	if !ok {
		return nil
	}
	// A clock that was set back must not have an answer live for longer than any may.
	if now.After(e.until) || e.until.Sub(now) > maxCachedFor {
		c.drop(key)
		return nil
	}
	return e.der
}

// put remembers der, for a week at most. What ends first makes room.
func (c *Cache) put(key string, der []byte, until, now time.Time) {
	if c == nil || len(der) > maxCachedOctets {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.entries == nil {
		c.entries = make(map[string]cached)
	}
	c.drop(key)
	if latest := now.Add(maxCachedFor); until.After(latest) {
		until = latest
	}
	for len(c.entries) >= maxCached || c.octets+len(der) > maxCachedOctets {
		first := ""
		for k, e := range c.entries {
			if first == "" || e.until.Before(c.entries[first].until) {
				first = k
			}
		}
		c.drop(first)
	}
	c.entries[key] = cached{der, until}
	c.octets += len(der)
}

// drop forgets an entry. The caller holds the lock.
func (c *Cache) drop(key string) {
	c.octets -= len(c.entries[key].der)
	delete(c.entries, key)
}
