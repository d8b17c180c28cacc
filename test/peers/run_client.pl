#!/usr/bin/perl
# SPDX-License-Identifier: ISC
# A client of a server for fdrun: run_client.pl SOCKET runs COMMAND with our 0, 1 and 2, passes INT and TERM on, and ends with
# COMMAND's status. It sends the descriptors by sendmsg(2) itself: 46 is its number on x86_64.
use strict;
use warnings;
use IO::Socket::UNIX;

my $server = IO::Socket::UNIX->new(Peer => $ARGV[0]) or die "$ARGV[0]: $!\n";
syswrite $server, "fdkit/1 run\n";
<$server> =~ m{^fdkit/1 takes} or die "it takes no run\n";
my $line = "fdkit/1 run fds=3 id=1\n";
my $iov = pack 'PQ', $line, length $line;
my $rights = pack 'QiiiiiI', 28, 1, 1, 0, 1, 2, 0;             # a header of SOL_SOCKET, SCM_RIGHTS, and 0, 1, 2
my $message = pack 'QQPQPQQ', 0, 0, $iov, 1, $rights, length $rights, 0;
syscall(46, fileno $server, $message, 0) == length $line or die "sendmsg: $!\n";
for my $pair ([INT => 2], [TERM => 15]) {
	$SIG{$pair->[0]} = sub { syswrite $server, "fdkit/1 signal id=1 n=$pair->[1]\n" };
}
while (defined(my $answer = <$server>)) {
	exit $1 if $answer =~ /ended id=1 status=(\d+)/;
	exit 128 + $1 if $answer =~ /ended id=1 signal=(\d+)/;
	die $answer if $answer =~ /refused/;
}
die "closed without saying how COMMAND ended\n";
