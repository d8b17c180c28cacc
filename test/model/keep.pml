/* SPDX-License-Identifier: ISC */
/* fdserve -L -k: COMMAND, its successors, and the signals that replace and end them.
 *
 * A step is one round of the loop for one event, or what a COMMAND does meanwhile. Timers (--ready-after, the pause,
 * --drain) may run out as soon as they are set: a longer time is only one in which others are faster. HUP comes HUPS
 * times at most, TERM twice, and FAULTS things go wrong: a COMMAND ends by itself, or does not obey TERM, or cannot be started.
 * So every run comes to an end, and Judge looks at it. fdserve itself is not killed: COMMAND would go on without it. */
#ifndef HUPS
#define HUPS 3
#endif
#ifndef FAULTS
#define FAULTS 3
#endif
#define MOST (HUPS + 3)                 /* COMMANDs at once: those that get TERM and drain, and two */
#define NONE MOST

/* enum state of struct generation in cmd/fdserve_keep.c, and FREE: no such struct */
mtype = { FREE, STARTING, SERVING, INTERRUPTED, LEAVING };
mtype state[MOST] = FREE;
bit due[MOST];                          /* its timer is set */

#define ABSENT 0
#define LIVES 1
#define ZOMBIE 2
byte process[MOST];
bit ready[MOST];                        /* it has said READY=1, */
bit unheard[MOST];                      /* and that is in its NOTIFY_SOCKET */
bit got_term[MOST];                     /* or INT from its terminal */
bit stubborn[MOST];                     /* does not end by it */

bit child, hup, term;                   /* signals that wait to be read; */
bit terminal;                           /* term is an INT that COMMAND has got, too */

/* struct keeper */
bit again, reloading, was_ready;
bit start_due = 1;
byte stopping;                          /* 1: by a signal; 2: the first was never ready */
bit over;                               /* keep_command has returned */

byte hups = HUPS, terms = 2, faults = FAULTS;
bit wanted;                             /* HUP was obeyed, and nothing was started since */
bit crashed;                            /* the COMMAND that served has ended by itself, and no other serves */

inline find(which, result) /* fdserve_keep.c: find */
{
	result = 0;
	do
	:: result < MOST && state[result] != which -> result++
	:: else -> break
	od
}

inline leave(g) /* fdserve_keep.c: leave */
{
	state[g] = LEAVING;
	due[g] = 1;
	if
	:: process[g] == LIVES -> got_term[g] = 1
	:: else
	fi
}

inline settle() /* fdserve_keep.c: settle, restart */
{
#ifndef RELOADING_STAYS
	reloading = 0;
#endif
	find(SERVING, f);
	if
	:: again -> start_due = 1
#ifndef NO_RESTART
	:: !again && f == NONE -> start_due = 1
#endif
	:: else
	fi
}

inline not_ready() /* fdserve_keep.c: not_ready */
{
	if
	:: !was_ready -> stopping = 2
	:: else -> settle()
	fi
}

inline start() /* fdserve_keep.c: start; fdserve_begin.c: begin_command */
{
	start_due = 0;
	wanted = 0;
	if
	:: again -> reloading = was_ready
	:: else
	fi;
	again = 0;
	find(FREE, g);
	assert(g < MOST);
	state[g] = STARTING;
	due[g] = 1;
	process[g] = LIVES;
#ifdef TERM_FIRST
	find(SERVING, f);
	if
	:: f != NONE -> leave(f)
	:: else
	fi;
#endif
	f = 0;
	g = 0
}

inline get_ready(g) /* fdserve_keep.c: get_ready, runs */
{
#ifdef READY_UNSEEN
	if
	:: state[g] == STARTING ->
#else
	if
	:: state[g] == STARTING && process[g] == LIVES ->
#endif
		/* TERM goes to the former only for one that runs. */
		assert(process[g] == LIVES);
		find(SERVING, f);
		state[g] = SERVING;
		due[g] = 0;
		if
		:: f != NONE -> leave(f)
		:: else
		fi;
		was_ready = 1;
		crashed = 0;
		settle()
	:: else
	fi;
	f = 0
}

inline end_of(g) /* fdserve_keep.c: end, free_generation */
{
	process[g] = ABSENT; ready[g] = 0; unheard[g] = 0; got_term[g] = 0; stubborn[g] = 0; due[g] = 0;
	if
	:: state[g] == STARTING -> state[g] = FREE; not_ready()
	:: state[g] == SERVING ->
		state[g] = FREE;
		find(STARTING, f);
		if
		:: f == NONE && !start_due -> start_due = 1
		:: else
		fi
	:: else -> state[g] = FREE
	fi;
	f = 0
}

/* What holds after each step: of no two does fdserve say that they serve, and one does, unless it has ended by itself
 * or we are to end. */
inline check()
{
	g = 0; n = 0; m = 0; s = 0;
	do
	:: g < MOST ->
		n = n + (state[g] == SERVING -> 1 : 0);
		s = s + (state[g] == STARTING -> 1 : 0);
		m = m + (state[g] == SERVING && process[g] == LIVES && !got_term[g] -> 1 : 0);
		g++
	:: else -> break
	od;
	assert(n <= 1 && s <= 1);
	assert(m == 1 || !was_ready || stopping || crashed || terminal);
	g = 0; n = 0; m = 0; s = 0
}

#define is_free(g) (state[g] == FREE)
#if HUPS == 3
#define all_free (is_free(0) && is_free(1) && is_free(2) && is_free(3) && is_free(4) && is_free(5))
#else
#define all_free (is_free(0) && is_free(1) && is_free(2) && is_free(3) && is_free(4))
#endif

active proctype Fdserve()
{
	byte f, g, n, m, s;
end:	do
	:: d_step { !over && start_due -> start(); check() } /* fdserve_keep.c: on_time */
	/* It could not be begun. */
	:: d_step { !over && start_due && faults > 0 -> /* fdserve_keep.c: start */
		faults--;
		start_due = 0;
		wanted = 0;
		if
		:: again -> reloading = was_ready
		:: else
		fi;
		again = 0;
		not_ready();
		f = 0;
		check() }
	:: d_step { hup -> /* fdserve_keep.c: obey */
		hup = 0;
		wanted = !stopping;
		find(STARTING, f);
		if
		:: stopping
#ifdef HUP_LOST
		:: !stopping && f != NONE
#else
		:: !stopping && f != NONE -> again = 1
#endif
		:: else -> again = 1; start()
		fi;
		f = 0;
		check() }
	:: d_step { term && !stopping -> /* fdserve_keep.c: obey, stop, interrupted */
		term = 0;
		stopping = 1;
		start_due = 0;
		again = 0;
		wanted = 0;
		g = 0;
		do
		:: g < MOST ->
			if
#ifdef STARTING_FORGOTTEN
			:: state[g] == SERVING && !terminal -> leave(g)
#else
			:: (state[g] == SERVING || state[g] == STARTING) && !terminal -> leave(g)
#endif
			:: (state[g] == SERVING || state[g] == STARTING) && terminal -> state[g] = INTERRUPTED; due[g] = 0 /* without --drain */
			:: else
			fi;
			g++
		:: else -> break
		od;
		terminal = 0;
		check() }
	:: d_step { term && stopping -> /* fdserve_keep.c: obey */
		term = 0;
		terminal = 0;
		g = 0;
		do
		:: g < MOST ->
			if
			:: process[g] == LIVES -> process[g] = ZOMBIE; child = 1
			:: else
			fi;
			g++
		:: else -> break
		od;
		g = 0 }
	:: d_step { child -> /* fdserve_keep.c: reap, hear */
		child = 0;
		g = 0;
		do
		:: g < MOST ->
			if
			:: process[g] == ZOMBIE ->
				if
				:: unheard[g] -> unheard[g] = 0; get_ready(g)
				:: else
				fi;
				end_of(g)
			:: else
			fi;
			g++
		:: else -> break
		od;
		check() }
#ifdef ENDS_EARLY
	:: d_step { stopping && !over -> over = 1 }
#else
	:: d_step { stopping && !over && all_free -> /* fdserve_keep.c: keep_command */
		over = 1 }
#endif
	od
}
/* What fdserve does for one COMMAND, and what that does. */
proctype Generation(byte i)
{
	byte f, g, n, m, s;
end:	do
	:: d_step { !over && unheard[i] -> unheard[i] = 0; get_ready(i); check() } /* fdserve_keep.c: hear; fdserve_notify.c: notify_hear */
	/* --ready-after */
	:: d_step { !over && state[i] == STARTING && due[i] -> /* fdserve_keep.c: on_time */
		due[i] = 0;
		get_ready(i);
		check() }
	/* --drain */
	:: d_step { !over && state[i] == LEAVING && due[i] -> /* fdserve_keep.c: on_time */
		due[i] = 0;
		if
		:: process[i] == LIVES -> process[i] = ZOMBIE; child = 1
		:: else
		fi }
	/* COMMAND */
	:: d_step { process[i] == LIVES && !ready[i] -> ready[i] = 1; unheard[i] = !over }
	:: d_step { process[i] == LIVES && got_term[i] && !stubborn[i] -> process[i] = ZOMBIE; child = 1 }
	:: d_step { process[i] == LIVES && faults > 0 -> faults--; crashed = crashed || state[i] == SERVING; process[i] = ZOMBIE; child = 1 }
	:: d_step { process[i] == LIVES && faults > 0 && !stubborn[i] -> faults--; stubborn[i] = 1 }
	od
}

/* Who sends signals. */
active proctype World()
{
	byte g;
end:	do
	:: d_step { hups > 0 && !over -> hups--; hup = 1 }
	:: d_step { terms > 0 && !over -> terms--; term = 1 }
	/* ^C: COMMANDs that live get INT, too. */
	:: d_step { terms > 0 && !over && !term ->
		terms--;
		term = 1;
		terminal = 1;
		crashed = 1;
		do
		:: g < MOST ->
			if
			:: process[g] == LIVES -> got_term[g] = 1
			:: else
			fi;
			g++
		:: else -> break
		od;
		g = 0 }
	:: d_step { hups > 0 || terms > 0 -> hups = 0; terms = 0 }
	od
}

proctype Judge()
{
	byte g, n;
	bit spared;
	atomic { timeout ->
		do
		:: g < MOST ->
			n = n + (state[g] == SERVING && process[g] == LIVES && !got_term[g] -> 1 : 0);
			/* None is left of those that were to go; and after the end, none at all. But without --drain a second ^C is needed for
			 * one that ignores the first, or was begun after the first came and before it was read. */
			assert(state[g] == FREE || state[g] == SERVING || state[g] == INTERRUPTED && (stubborn[g] || !got_term[g]));
			spared = spared || state[g] == INTERRUPTED;
			assert(!over || process[g] == ABSENT);
			g++
		:: else -> break
		od;
		assert((stopping -> over || spared : n == 1));
		/* After the last HUP one was started, and our own service manager knows that it is over. */
		assert(stopping || !wanted && !again && !reloading) }
}

init
{
	byte i;
	atomic {
		do
		:: i < MOST -> run Generation(i); i++
		:: else -> break
		od;
		i = 0;
		run Judge()
	}
}
