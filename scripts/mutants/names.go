package main

// nameRules are what keeps the enterprise's names inside, beside the first of them in detection.go.
var nameRules = []mutant{
	{name: "enterprise names asked outside when nobody answers inside", rules: "HST-3", by: tests("client/e2e", "^TestNoEnterpriseNameOutside$"), patches: []patch{
		{"client/dns/forwarder.go", "\t\tanswer, err = f.askInside(ctx, r, message, stream)\n",
			"\t\tif answer, err = f.askInside(ctx, r, message, stream); err != nil {\n\t\t\tanswer, err = f.askOutside(ctx, message, stream)\n\t\t}\n"},
	}},
	{name: "enterprise names asked outside with the network's domain behind them", rules: "HST-3", by: tests("client/e2e", "^TestNamesEverywhere$"), patches: []patch{
		{"client/dns/routing.go", "case r.Domains.Within(q.Name):", "case r.Domains.Within(q.Name) && r.Full:"},
	}},
	{name: "name servers of the gateway's outside the tunnel taken", rules: "HST-3", by: tests("client/e2e", "^TestNamesEverywhere$"), patches: []patch{
		{"client/dns.go", "if within(c.cfg.Enterprise.Prefixes, a) {", "if a.IsValid() {"},
	}},
	{name: "the host's resolver given back at the daemon's end", rules: "HST-3, HST-2", by: tests("client/e2e", "^TestNoEnterpriseNameOutside$"), patches: []patch{
		{"client/dns.go", "\td.worker.Wait()\n", "\td.worker.Wait()\n\t_ = d.settings.Clear()\n"},
	}},
	{name: "question of an answer ignored", rules: "HST-3", by: tests("detect/resolve/query", "^TestExchangeRejects$"), patches: []patch{
		{"detect/resolve/query/exchange.go", "if string(message[headerLen:headerLen+len(s.question)]) != string(s.question) {", "if len(message) < headerLen {"},
	}},
	{name: "ID of an answer ignored", rules: "HST-3", by: tests("detect/resolve/query", "^TestExchangeRejects$"), patches: []patch{
		{"detect/resolve/query/exchange.go", "id != s.id {", "id != s.id && x.done {"},
	}},
	{name: "what a resolv.conf was not kept before it is written", rules: "HST-3", by: tests("client/dns", "^TestResolvConfKilledAnywhere$"), patches: []patch{
		{"client/dns/resolvconf.go", "if !existed || !isOurs(now) {", "if !existed {"},
	}},
}
