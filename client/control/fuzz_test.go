package control_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"testing"
	"testing/synctest"
	"time"

	"mipvpn/client/control"
	"mipvpn/client/control/controltest"
)

func FuzzServeConn(f *testing.F) {
	var all []byte
	for _, r := range requests() {
		p, err := json.Marshal(r)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(append(p, '\n'))
		all = append(append(all, p...), '\n')
	}
	f.Add(all)
	f.Add([]byte("\n\n\n"))
	f.Add(bytes.Repeat([]byte{'['}, control.MaxRequest+1))
	f.Fuzz(func(t *testing.T, data []byte) {
		synctest.Test(t, func(t *testing.T) {
			near, ended := piped(t, controltest.New(connected()), self)
			go func() {
				_, _ = near.Write(data)
				_, _ = near.Write([]byte("\n"))
			}()
			answers := bufio.NewScanner(near)
			answers.Buffer(nil, 1<<20)
			_ = near.SetReadDeadline(time.Now().Add(time.Hour))
			for answers.Scan() {
				var r control.Response
				if err := json.Unmarshal(answers.Bytes(), &r); err != nil || r.Schema != control.Schema {
					t.Fatalf("answer %q: %v", answers.Bytes(), err)
				}
			}
			near.Close()
			<-ended
		})
	})
}
