package control

import (
	"context"
	"errors"
	"fmt"

	"go.uber.org/zap"
)

// noOwner is the owner of a session that nobody, or root, has begun.
const noOwner = -1

// SetJudge has the server ask a judge about peers whom its authority does not allow everything; nil for nobody, so that they may do
// nothing. It counts for connections that begin from now on.
func (s *Server) SetJudge(j Judge) {
	if j == nil {
		s.judge.Store(nil)
		return
	}
	s.judge.Store(&j)
}

// permits reports whether the peer may have the request done. If not it has been told why.
func (s *Server) permits(ctx context.Context, k *conn, r Request) bool {
	if k.all {
		return true
	}
	judge := s.judge.Load()
	if judge == nil { // since the connection began
		s.refuse(k, RightAdminister, nil)
		return false
	}
	owner := s.owner.Load()
	right := r.right(owner == noOwner || owner == int64(k.peer.UID))
	if r.Interactive { // it may take minutes, in which the peer may lose its patience
		var cancel context.CancelFunc
		ctx, cancel = context.WithCancel(ctx)
		defer cancel()
		defer k.gone(cancel)()
	}
	if err := (*judge).Judge(ctx, k.peer, right, r.Interactive); err != nil {
		s.refuse(k, right, err)
		return false
	}
	return true
}

// refuse tells a peer that it may not have its request done.
func (s *Server) refuse(k *conn, right Right, why error) {
	s.log.Warn("control request refused: not allowed", zap.Stringer("peer", k.peer), zap.Stringer("right", right), zap.Error(why))
	message := fmt.Sprintf("user %d may not control mipvpn: root may, and whom control.users and control.groups of the configuration name", k.peer.UID)
	if why != nil && !errors.Is(why, ErrNoJudge) {
		message = fmt.Sprintf("user %d may not do this (right %q): %v. Root may, and whom control.users and control.groups of the configuration name", k.peer.UID, right, why)
	}
	k.answer(failure(KindPermission, message))
}
