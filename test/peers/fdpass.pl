#!/usr/bin/perl
# SPDX-License-Identifier: ISC
# fdpass.pl give|take PATH: Perl's IO::FDPass gives standard input to who listens there, or takes a file and prints it.
use strict;
use IO::FDPass;
use IO::Socket::UNIX;

my ($verb, $path) = @ARGV;
if ($verb eq "give") {
	my $s = IO::Socket::UNIX->new(Peer => $path) or die $!;
	IO::FDPass::send(fileno $s, 0) or die $!;
} else {
	my $l = IO::Socket::UNIX->new(Local => $path, Listen => 1) or die $!;
	my $fd = IO::FDPass::recv(fileno $l->accept);
	die $! if $fd < 0;
	open my $f, "<&=", $fd or die $!;
	print <$f>;
}
