package control

import "testing"

// TestEveryOperationHasARight: what is not in the table is an administrator's, which is not meant for what a user does every day.
func TestEveryOperationHasARight(t *testing.T) {
	for _, op := range Ops() {
		if _, known := rights[op]; !known {
			t.Errorf("operation %q: say in rights (right.go) what it takes", op)
		}
	}
	if len(rights) != len(Ops()) {
		t.Errorf("%d rights, %d operations", len(rights), len(Ops()))
	}
}

func TestRightOfRequests(t *testing.T) {
	for _, c := range []struct {
		request     Request
		own, others Right // in the user's own session, and in another's
	}{
		{Request{Op: OpStatus}, RightRead, RightRead},
		{Request{Op: OpDetect}, RightRead, RightRead},
		{Request{Op: OpDetect, Again: true}, RightControl, RightControl},
		{Request{Op: OpUp}, RightControl, RightControl},
		{Request{Op: OpMode, Mode: "auto"}, RightControl, RightControl},
		{Request{Op: OpMode, Mode: "cvc"}, RightControl, RightControl},
		{Request{Op: OpMode, Mode: "vf"}, RightControl, RightControl},
		{Request{Op: OpMode, Mode: "c"}, RightAdminister, RightAdminister},
		{Request{Op: OpMode, Mode: "f"}, RightAdminister, RightAdminister},
		{Request{Op: OpMode, Mode: "other"}, RightAdminister, RightAdminister},
		{Request{Op: OpAnswer}, RightAnswer, RightAdminister},
		{Request{Op: OpQuestions}, RightAnswer, RightAdminister},
		{Request{Op: OpPortal}, RightPortal, RightPortal},
		{Request{Op: OpReload}, RightAdminister, RightAdminister},
		{Request{Op: "new"}, RightAdminister, RightAdminister},
	} {
		if got := c.request.right(true); got != c.own {
			t.Errorf("%s %s: %v, want %v", c.request.Op, c.request.Mode, got, c.own)
		}
		if got := c.request.right(false); got != c.others {
			t.Errorf("%s %s in another's session: %v, want %v", c.request.Op, c.request.Mode, got, c.others)
		}
	}
}
