// Package shell is what a command sees that is executed in a container of a built-in image: a shell, the small programs
// that one looks around with (curl, wget, nslookup, cat, env …), and the container's files.
//
// Nothing here is a process of this machine. The grammar is bash's, by mvdan.cc/sh; what the shell runs are the programs
// of this package, what it reads are the container's files, and what it reaches is the cluster's network. Of the machine
// it uses pipes only. The programs answer in the words of those that Alpine Linux has, busybox and curl; an option that
// they do not know is refused by name.
package shell
