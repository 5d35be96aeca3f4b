package secret

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"time"
)

// commandLimit is how long a program may take: it may ask a person, or have a card touched.
const commandLimit = 2 * time.Minute

// Run runs a program without a shell and returns what it prints, at most maxSecret octets. Its standard error is not looked at.
func Run(ctx context.Context, words []string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, commandLimit)
	defer cancel()
	c := exec.CommandContext(ctx, words[0], words[1:]...)
	var out bounded
	c.Stdout = &out
	c.WaitDelay = time.Second
	if err := c.Run(); err != nil {
		clear(out.out)
		return nil, fmt.Errorf("the program failed: %w", err)
	}
	return out.out, nil
}

// bounded takes a secret's length and no more.
type bounded struct{ out []byte }

func (b *bounded) Write(p []byte) (int, error) {
	if len(b.out)+len(p) > 2*maxSecret {
		return 0, errors.New("it prints too much")
	}
	b.out = append(b.out, p...)
	return len(p), nil
}
