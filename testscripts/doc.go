// Package testscripts holds the scenarios: what a user types and sees, one file a topic, run against real processes and
// real sockets. README.md lists the commands that scenarios can use.
package testscripts
