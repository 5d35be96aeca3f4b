package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	t := terminal{out: os.Stdout, err: os.Stderr, screen: screenOf(os.Stdout), start: startClient, lift: liftBlock, examine: examineHost, lookup: lookupName, line: openFirewall,
		prompt: terminalPrompt(), question: terminalQuestion(), console: terminalConsole(os.Stdin, os.Stdout), ring: desktopRing, keep: desktopKeep}
	if code, is := runService(func(ctx context.Context, t terminal) int { return run(ctx, os.Args[1:], t) }, t); is {
		os.Exit(code)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], t)
	stop()
	os.Exit(code)
}
