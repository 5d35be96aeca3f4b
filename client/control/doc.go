// Package control is how people and scripts talk to the daemon.
//
// Purpose: a Server answers requests on a unix socket (or any net.Conn) from a Backend, the client's actor; a Client asks
// them. The documents exchanged, Status and its parts, are what `mipvpn status --json` prints.
//
// Specification: the project's own (DESIGN §4). JSON documents, each on a line of its own. The caller sends one Request and reads Response documents: one, or
// for events a stream of them, each with one Event, until either side closes the connection. Another request may follow
// after the answer to the one before. A request is at most MaxRequest octets long; unknown fields are errors.
//
// Authorisation: by the peer credentials of the socket. The user that the daemon runs as, root, and the users and primary
// groups that the configuration names may do everything (Authority). About all others a Judge decides, such as polkit, for each request by
// the Right that it takes; what is refused, and everything where there is no judge, gets an error of KindPermission.
//
// Concurrency: Server and Client may be used by several goroutines at once; a Backend must allow that too.
//
// Ownership: a Backend's answers must not be changed once they are returned; requests are owned by the server.
package control
