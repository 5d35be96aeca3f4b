package underlay

import (
	"sync"
	"time"

	"mipvpn/tun/link"
)

var _ link.SettingsKeeper = (*Host)(nil)

const (
	// keepPause is the least time between two times that settings are put back, so that a program that takes them away again and
	// again costs little.
	keepPause = 100 * time.Millisecond
	// keepAgain is when that is tried again where it failed.
	keepAgain = 5 * time.Second
	// keepLook is how often it is looked without a hint: the kernel does not tell of every sysctl.
	keepLook = time.Minute
)

// KeepSettings implements link.SettingsKeeper; see hostnet.Network.Restore.
func (h *Host) KeepSettings(told func(link.Restored, error)) (stop func(), err error) {
	hints, ended := make(chan struct{}, 1), make(chan struct{})
	var unwatch func()
	err = h.in(func() error {
		unwatch, err = h.network.Watch(func() {
			select {
			case hints <- struct{}{}:
			default: // one is waiting
			}
		})
		return err
	})
	if err != nil {
		return nil, err
	}
	var running sync.WaitGroup
	running.Go(func() {
		pause := time.NewTimer(keepPause)
		defer pause.Stop()
		look := time.NewTicker(keepLook)
		defer look.Stop()
		for {
			select {
			case <-hints:
			case <-look.C:
			case <-ended:
				return
			}
			var r link.Restored
			err := h.in(func() (err error) {
				r, err = h.network.Restore()
				return err
			})
			if r.Any() || err != nil {
				told(r, err)
			}
			if err == nil {
				pause.Reset(keepPause)
			} else {
				pause.Reset(keepAgain)
				select {
				case hints <- struct{}{}:
				default:
				}
			}
			select {
			case <-pause.C:
			case <-ended:
				return
			}
		}
	})
	var once sync.Once
	return func() {
		once.Do(func() {
			unwatch()
			close(ended)
			running.Wait()
		})
	}, nil
}
