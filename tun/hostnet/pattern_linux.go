package hostnet

import (
	"context"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"
)

// nftPrograms are where distributions have nft.
var nftPrograms = []string{"/usr/sbin/nft", "/sbin/nft", "/usr/local/sbin/nft", "/usr/bin/nft", "/run/current-system/sw/bin/nft"}

// nftPatterns is the first version of nft that can read a chain that stands on a pattern of interfaces' names. One before it never ends
// where it reads rules (`nft list ruleset`): the rules of a chain that it cannot see are to it a change in between, and it begins again.
var nftPatterns = []int{1, 1, 6}

// nftPatience is how long nft may take to say its version.
const nftPatience = 5 * time.Second

// readsPatterns reports whether the nft of this system, which stands for all that read rules here, can read such a chain. Where there is
// none nobody is in its way.
func readsPatterns(programs []string) bool {
	for _, p := range programs {
		if _, err := os.Stat(p); err != nil {
			continue
		}
		ctx, cancel := context.WithTimeout(context.Background(), nftPatience)
		defer cancel()
		cmd := exec.CommandContext(ctx, p, "--version") // which asks the kernel nothing
		cmd.Env, cmd.WaitDelay = []string{}, time.Second
		out, err := cmd.Output()
		return err == nil && slices.Compare(nftVersion(string(out)), nftPatterns) >= 0
	}
	return true
}

// nftVersion reads "nftables v1.0.6 (Lester Gooch #5)", nil where it is not that.
func nftVersion(out string) (version []int) {
	text, is := strings.CutPrefix(out, "nftables v")
	if !is {
		return nil
	}
	text, _, _ = strings.Cut(strings.TrimSpace(text), " ")
	for part := range strings.SplitSeq(text, ".") {
		n, err := strconv.Atoi(part)
		if err != nil || n < 0 {
			return nil
		}
		version = append(version, n)
	}
	return version
}
