package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], terminal{out: os.Stdout, err: os.Stderr, screen: screenOf(os.Stdout), start: startClient, lift: liftBlock, examine: examineHost, line: openFirewall,
		prompt: terminalPrompt(), question: terminalQuestion(), console: terminalConsole(os.Stdin, os.Stdout), ring: desktopRing, keep: desktopKeep})
	stop()
	os.Exit(code)
}
