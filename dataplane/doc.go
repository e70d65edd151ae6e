// Package dataplane is the semantic layer of the data plane: what a request means, independent of any socket.
//
// A producer publishes a Snapshot (listeners with ordered routes, upstreams with endpoints, certificates). Compile
// turns it into a Program, Program.Decide answers what happens to one Request, RequestHead, ResponseHead and ReplyHead
// apply the header rules, Retry says whether a failed attempt may be repeated, ListenerTLS.Choose which certificate a
// client is shown, and Reason names every answer the data plane makes itself.
// All of these are functions of values: no clock, no network, no logger. Engines (dataplane/std and later ones) own
// sockets and bytes, and share this layer, so that every protocol has the same manners.
//
// State, Pool, Metrics and AccessRecord are what engines keep across snapshots; they are safe for concurrent use
// unless their comment says otherwise.
package dataplane
