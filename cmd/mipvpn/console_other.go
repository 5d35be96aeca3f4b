//go:build !unix

package main

// windowChanges returns no channel: the size is read again with each picture.
func windowChanges() (changes <-chan struct{}, stop func()) { return nil, func() {} }
