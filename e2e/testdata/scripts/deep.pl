# Writes who called whom, innermost first, and waits.
use strict;
use warnings;

sub inner {
    my @names = map { (caller $_)[3] } 1 .. 12;
    for my $i (0 .. 12) {
        my @call = caller $i or last;
        my $name = (caller $i + 1)[3] // '<main>';
        $name =~ s/.*:://;
        print "frame $name $call[2]\n";
    }
    $| = 1;
    print "ready\n";
    sysread STDIN, my $c, 1;
}

package Other;

sub DESTROY { main::inner() }

sub outer {
    my ($self, $depth) = @_;
    return $self->outer($depth - 1) if $depth > 0;
    my @all = sort { main::middle($a, $b) } 1, 2;
}

package main;

my $made = sub {
    for my $x (1) {
        my $gone = bless {}, 'Other';
        undef $gone;
    }
};

sub middle {
    eval { $made->() };
    return 0;
}

Other->outer(3);
