/* SPDX-License-Identifier: ISC */
/* The worker channel between fdserve -l and two fdexec -c, with everything that can end in between.
 *
 * A step of the model is one system call of one process, and what that process does with its result; the comment beside
 * it names the function. The dispatcher's steps stand in Channel, for each channel, and Door; between two of them it may
 * do any of its others, in any order, which is more than dispatch_run does. A delay needs no step: a process that is
 * stopped and continued later is one that others overtake. So an --ack-timeout may run out whenever something is not
 * acknowledged.
 *
 * A run has FAULTS faults: kills, stops for ever, ends, half-closes, early timeouts, refusals, in any place. Each costs
 * one channel at most, so no run goes on for ever (the check for cycles shows it), and all that must happen at last
 * has happened where nothing more can: Judge looks there. */
#ifndef CONNECTIONS
#define CONNECTIONS 3
#endif
#ifndef FAULTS
#define FAULTS 2
#endif
#ifndef PLACES
#define PLACES 2                        /* of the first worker; the second has one */
#endif
#ifndef QUEUE
#define QUEUE 2                         /* sets that a channel's queue holds; then it is full */
#endif
#define WORKERS 2
#define CHANNELS (WORKERS + FAULTS)
#define GIVEN (CONNECTIONS * (FAULTS + 1)) /* a connection is given to workers so many times, if each fault takes it back */
#define ANSWERS (3 * PLACES)            /* a channel's queue holds these (SLOTS_MOST of fdexec.c sees to it) */
#define NONE 255

/* lib/record.h */
mtype = { RECORD_HELLO, RECORD_SET, RECORD_SLOTS, RECORD_TAKEN, RECORD_REFUSED, RECORD_DONE };

/* ---- the channels ---- */

chan to_worker[CHANNELS] = [QUEUE] of { mtype, byte, byte };  /* word, id, which gift it is */
chan to_dispatcher[CHANNELS] = [ANSWERS] of { mtype, byte };  /* word, id or n */
byte holders[CHANNELS];                 /* copies of the worker's end */
bit mute[CHANNELS];                     /* the worker's end is shut for writing */
bit deaf[CHANNELS];                     /* and for reading */

/* ---- the dispatcher ---- */

#define ABSENT 0
#define WORKS 1
#define BROKEN 2
#define CLOSED 3
byte state[CHANNELS];
byte slots[CHANNELS], runs[CHANNELS];
bit silenced[CHANNELS];
#ifdef NO_SHUTDOWN
bit emptied[CHANNELS];
#endif

#define QUEUED 0                        /* in the listening socket */
#define WAITING 1
#define UNANSWERED 2
#define RUNNING 3                       /* acknowledged, and doubled: our copy is open */
#define OVER 4
byte ticket[CONNECTIONS];
byte id[CONNECTIONS], given[CONNECTIONS]; /* given: which gift it was last, from 1; 0 for none */
byte at[CONNECTIONS];                   /* its channel */
bit doubled[CONNECTIONS];
byte accepted;
bit dispatcher_killed;

/* ---- workers and commands ---- */

#define ALIVE 0
#define STOPPED 1
#define ENDING 2                        /* waits for its commands */
#define DEAD 3
byte worker[WORKERS];
byte channel[WORKERS];                  /* NONE: it is to connect */
byte running[WORKERS];
byte promised[WORKERS];                 /* slots, on this channel; NONE: no hello came */
byte got[WORKERS];                      /* the gift that it has read, and given no process yet, from 1; */
byte got_id[WORKERS];                   /* and its id */
#define places(w) (w == 0 -> PLACES : 1)

#define FREE 0
#define BORN 1                          /* a process that shares the channel, and is to become a command */
#define FROZEN 2                        /* that process, stopped for ever */
#define RUNS 3                          /* a command */
#define CANCELED 4                      /* it could not acknowledge */
byte job[GIVEN + 1];                    /* by gift */
byte job_of[GIVEN + 1];                 /* the worker that reaps it; WORKERS: none */
byte job_at[GIVEN + 1];                 /* its channel; NONE: its worker has another, and so has it */
byte job_id[GIVEN + 1];

/* ---- what the properties speak of ---- */

byte faults = FAULTS;
byte started[CONNECTIONS];              /* commands */
bit ended[CONNECTIONS];                 /* its command has */
byte copies[CONNECTIONS];               /* besides the dispatcher's */
bit hung_up[CONNECTIONS];               /* the dispatcher has shut it down */
bit untold[CONNECTIONS];                /* doubled, and its worker went before it said done */

#define connection(gift) ((gift - 1) % CONNECTIONS)
#define open(i) (state[i] == WORKS || state[i] == BROKEN)
#define closed(i) (state[i] == CLOSED || state[i] == ABSENT)

/* ---- shared pieces ---- */

/* Nobody has anything of the channel I any more: it may be another one's number. */
inline unused(i)
{
	if
	:: holders[i] == 0 && state[i] == CLOSED ->
		state[i] = ABSENT; silenced[i] = 0; mute[i] = 0; deaf[i] = 0
	:: else
	fi
}

inline flush(i)
{
	do
	:: to_worker[i]?RECORD_SET(_, g) -> copies[connection(g)]--
	:: to_worker[i]?RECORD_HELLO(_, _)
	:: empty(to_worker[i]) -> break
	od
}

/* A copy of the worker's end is closed. Kernel: with the last one goes what is in its queue (unix_release_sock). */
inline let_go(i)
{
	holders[i]--;
	if
	:: holders[i] == 0 -> flush(i); unused(i)
	:: else
	fi
}

/* Can the worker's side send on I? Kernel: unix_stream_sendmsg; its lock excludes the dispatcher's shutdown(2). */
#ifdef NO_SHUTDOWN
#define sends(i) (!closed(i) && !mute[i])
#else
#define sends(i) (!closed(i) && !silenced[i] && !mute[i])
#endif

/* What W has read, and given no process, is closed. */
inline forget(w) /* fdexec.c: start; inbox.c: inbox_has */
{
	if
	:: got[w] -> copies[connection(got[w])]--; got[w] = 0; got_id[w] = 0
	:: else
	fi
}

inline drop_channel(w) /* inbox.c: connection_end; connection.c: connection_drop */
{
	forget(w);
	let_go(channel[w]);
	g = 1;
	do
	:: g <= GIVEN ->
		if
		:: job[g] == RUNS && job_at[g] == channel[w] -> job_at[g] = NONE
		:: else
		fi;
		g++
	:: else -> break
	od;
	g = 0;
	channel[w] = NONE;
	promised[w] = NONE
}

/* The worker W sends WORD with N; if it cannot, its channel is over. */
inline answer(w, word, n) /* inbox.c: inbox_answer; channel.c: channel_offer */
{
	if
	:: sends(channel[w]) ->
		assert(nfull(to_dispatcher[channel[w]]));
		to_dispatcher[channel[w]]!word(n)
	:: else -> drop_channel(w)
	fi
}

#ifdef ID_COMES_BACK
#define has_id(c, d) (d != c && ticket[d] != QUEUED && ticket[d] != OVER && id[d] == id[c])
#if CONNECTIONS == 2
#define in_use(c) (has_id(c, 0) || has_id(c, 1))
#else
#define in_use(c) (has_id(c, 0) || has_id(c, 1) || has_id(c, 2))
#endif
#endif

/* Another id for the connection C, which is to be given again: none is used twice. */
inline renew(c) /* table.c: table_add, table_renew */
{
	given[c] = (given[c] == 0 -> c + 1 : given[c] + CONNECTIONS);
#ifdef ID_COMES_BACK
	id[c] = 1;
	do
	:: in_use(c) -> id[c]++
	:: else -> break
	od
#else
	id[c] = given[c]
#endif
}
/* ---- the dispatcher's steps ---- */

inline over(c) /* fdserve_dispatch.c: ticket_end */
{
	ticket[c] = OVER;
	id[c] = 0;
	given[c] = 0;
	at[c] = 0;
	doubled[c] = 0
}

/* The command of C has ended, says its worker. */
inline finish(c) /* fdserve_dispatch.c: finish */
{
	assert(ended[c]);
	hung_up[c] = 1;
	over(c)
}

inline acknowledge(i, c) /* fdserve_dispatch.c: acknowledge, ticket_close */
{
	/* Whoever sent that answers for it from here on. */
	assert(started[c] == 1);
	runs[i]++;
#ifdef SLOT_AT_TAKEN
	slots[i]++;
#endif
	if
#ifdef ENDS_AT_TAKEN
	:: doubled[c] -> finish(c)
#endif
	:: doubled[c] -> ticket[c] = RUNNING
	:: else -> over(c)
	fi
}

inline give_back(c) /* fdserve_dispatch.c: give_back */
{
	ticket[c] = WAITING;
	at[c] = 0;
	renew(c)
}

inline answered(i, word, n) /* fdserve_dispatch.c: obey, answered, add_slots */
{
	c = 0;
	do
	:: c < CONNECTIONS && !(at[c] == i && id[c] == n && (ticket[c] == UNANSWERED || ticket[c] == RUNNING)) -> c++
	:: else -> break
	od;
	if
	:: word == RECORD_SLOTS -> slots[i] = slots[i] + n
	:: word == RECORD_TAKEN && c < CONNECTIONS && ticket[c] == UNANSWERED -> acknowledge(i, c)
	:: word == RECORD_REFUSED && c < CONNECTIONS && ticket[c] == UNANSWERED ->
#ifdef REFUSED_IS_OVER
		over(c)
#else
		give_back(c)
#endif
	:: word == RECORD_DONE && !(c < CONNECTIONS && ticket[c] == UNANSWERED) && runs[i] > 0 ->
		runs[i]--;
#ifndef SLOT_AT_TAKEN
		slots[i]++;
#endif
		if
		:: c < CONNECTIONS -> finish(c)
		:: else
		fi
	:: else
	fi
}

/* Nothing of the channel I is unread, and nothing more can come; or so we believe. */
inline worker_end(i) /* fdserve_dispatch.c: worker_end */
{
	c = 0;
	do
	:: c < CONNECTIONS ->
		if
		:: at[c] == i && ticket[c] == UNANSWERED ->
#ifndef NOT_DOUBLED
			doubled[c] = doubled[c] || silenced[i] || holders[i] > 0;
#endif
			give_back(c)
		:: at[c] == i && ticket[c] == RUNNING ->
			untold[c] = 1;
			over(c)
		:: else
		fi;
		c++
	:: else -> break
	od;
	c = 0;
	state[i] = CLOSED;
	slots[i] = 0;
	runs[i] = 0;
	do
	:: to_dispatcher[i]?_(_)
	:: empty(to_dispatcher[i]) -> break
	od;
	unused(i)
}

inline hear(i) /* fdserve_dispatch.c: listen_to */
{
	to_dispatcher[i]?word(n);
	answered(i, word, n);
	c = 0; n = 0; word = 0
}

/* From here on the worker can say no more; read all that it has said. As nothing can be added meanwhile, that is one
 * step. */
inline give_up(i) /* fdserve_dispatch.c: silence, listen_to, dispatch_run */
{
	silenced[i] = 1;
#ifndef NO_SHUTDOWN
#ifndef NOT_DRAINED
	do
	:: nempty(to_dispatcher[i]) -> hear(i)
	:: else -> break
	od;
#endif
	worker_end(i)
#endif
}

#define owes(i, c) (ticket[c] == UNANSWERED && at[c] == i)
#define waits(c) (ticket[c] == WAITING)
#if CONNECTIONS == 2
#define owing(i) (owes(i, 0) || owes(i, 1))
#define waiting (waits(0) + waits(1))
#else
#define owing(i) (owes(i, 0) || owes(i, 1) || owes(i, 2))
#define waiting (waits(0) + waits(1) + waits(2))
#endif

inline choose_waiting()
{
	if
	:: waits(0) -> c = 0
	:: waits(1) -> c = 1
#if CONNECTIONS > 2
	:: waits(2) -> c = 2
#endif
	fi
}

/* The slots of I are those that its worker has: else one set waits while another worker is free. */
inline check_promise(i)
{
	w = 0;
	do
	:: w < WORKERS ->
		assert(channel[w] != i || running[w] + (got[w] != 0) + len(to_worker[i]) <= places(w));
		w++
	:: else -> break
	od;
	w = 0
}

proctype Channel(byte i)
{
	byte c, n, g, w;
	mtype word;
end:	do
	:: atomic { open(i) && nempty(to_dispatcher[i]) -> /* fdserve_dispatch.c: listen_to */
		hear(i) }
	/* End of file, and with it the end of the worker. */
	:: d_step { open(i) && empty(to_dispatcher[i]) && (holders[i] == 0 || mute[i]) -> /* fdserve_dispatch.c: listen_to */
		worker_end(i) }
#ifdef NO_SHUTDOWN
	:: atomic { open(i) && silenced[i] && empty(to_dispatcher[i]) -> emptied[i] = 1 }
	:: d_step { open(i) && emptied[i] -> worker_end(i); emptied[i] = 0 }
#endif
#ifdef READ_LOST
	/* What was read finds no memory. */
	:: d_step { faults > 0 && open(i) && nempty(to_dispatcher[i]) -> faults--; to_dispatcher[i]?_(_); worker_end(i) }
#endif
	/* It owes an acknowledgement for too long: for no fault where nothing else will happen. */
	:: atomic { open(i) && !silenced[i] && owing(i) && faults > 0 -> faults--; give_up(i) } /* fdserve_dispatch.c: dispatch_run, overdue_from */
#ifndef WAITS_FOR_EVER
	:: atomic { open(i) && !silenced[i] && owing(i) && timeout -> give_up(i) }
#endif
	/* Nothing can be sent to it. */
	:: atomic { state[i] == BROKEN && !silenced[i] && holders[i] > 0 -> give_up(i) } /* fdserve_dispatch.c: dispatch_run */
	:: atomic { state[i] == WORKS && slots[i] > 0 && waiting > 0 && nfull(to_worker[i]) -> /* fdserve_dispatch.c: hand, send_ticket; fdserve_choice.c: can_take, best_for */
		choose_waiting();
		if
		:: holders[i] == 0 || deaf[i] -> state[i] = BROKEN
		:: else ->
			to_worker[i]!RECORD_SET(id[c], given[c]);
			copies[c]++;
			check_promise(i);
			slots[i]--;
			at[c] = i;
			ticket[c] = UNANSWERED
#ifdef CLOSED_AT_ONCE
			; over(c)
#endif
		fi;
		c = 0 }
	od
}

#define can_take(i) (state[i] == WORKS -> slots[i] : 0)
#if FAULTS == 0
#define all_slots (can_take(0) + can_take(1))
#elif FAULTS == 1
#define all_slots (can_take(0) + can_take(1) + can_take(2))
#elif FAULTS == 2
#define all_slots (can_take(0) + can_take(1) + can_take(2) + can_take(3))
#else
#define all_slots (can_take(0) + can_take(1) + can_take(2) + can_take(3) + can_take(4))
#endif

proctype Door()
{
end:	do
	:: atomic { !dispatcher_killed && accepted < CONNECTIONS && all_slots > waiting -> /* fdserve_serve.c: accept_one, room; fdserve_dispatch.c: dispatch_give; fdserve_choice.c: dispatch_room */
		renew(accepted);
		ticket[accepted] = WAITING;
		accepted++ }
	od
}

/* ---- a worker's steps ---- */

inline orphan(w)
{
	g = 1;
	do
	:: g <= GIVEN ->
		if
		:: job[g] != FREE && job_of[g] == w ->
			job_of[g] = WORKERS
		:: else
		fi;
		g++
	:: else -> break
	od;
	g = 0
}

inline close_all(w)
{
	if
	:: channel[w] != NONE -> drop_channel(w)
	:: else
	fi
}

inline begin(w, g) /* fdexec.c: start; jobs.c: jobs_start; launch.c: launch_start, launch_acknowledge */
{
	job[g] = BORN;
	job_of[g] = w;
	job_at[g] = channel[w];
	job_id[g] = n;
	holders[channel[w]]++;
	running[w]++
}

#define reads(w) (worker[w] == ALIVE && channel[w] != NONE && !got[w] && running[w] < places(w))

proctype Worker(byte w)
{
	byte g, n;
	/* The dispatcher accepts it and says hello: if it is late, that is as if the worker had connected later. */
end:	do
	:: d_step { worker[w] == ALIVE && channel[w] == NONE && !dispatcher_killed -> /* fdexec.c: dial; inbox.c: inbox_attach; fdserve_workers.c: accept_worker; fdserve_dispatch.c: dispatch_add */
		do
		:: state[n] != ABSENT || holders[n] > 0 -> n++; assert(n < CHANNELS)
		:: else -> break
		od;
		channel[w] = n;
		holders[n] = 1;
		state[n] = WORKS;
		to_worker[n]!RECORD_HELLO(0, 0);
		n = 0 }
	:: d_step { reads(w) && to_worker[channel[w]]?[RECORD_HELLO, _, _] -> /* fdexec.c: offer; inbox.c: inbox_next, held, obey; channel.c: channel_offer */
		to_worker[channel[w]]?RECORD_HELLO(_, _);
#ifdef OFFERS_ALL
		promised[w] = places(w);
#else
		promised[w] = places(w) - running[w];
#endif
		answer(w, RECORD_SLOTS, promised[w]) }
	/* It reads a set and makes a process: killed between the two it has done nothing that others could see. */
	:: d_step { reads(w) && to_worker[channel[w]]?[RECORD_SET, _, _] -> /* inbox.c: inbox_next, held, handle, deliver */
		to_worker[channel[w]]?RECORD_SET(n, g);
#ifdef ACKNOWLEDGES_ITSELF
		got[w] = g;
		got_id[w] = n;
		if
		:: sends(channel[w]) -> started[connection(g)]++
		:: else
		fi;
		answer(w, RECORD_TAKEN, n);
#else
		begin(w, g);
#endif
		n = 0; g = 0 }
#ifdef ACKNOWLEDGES_ITSELF
	:: d_step { worker[w] == ALIVE && got[w] -> n = got_id[w]; begin(w, got[w]); n = 0; got[w] = 0; got_id[w] = 0 }
#endif
	/* That it cannot take: it says so, and that it takes another. */
	:: d_step { faults > 0 && reads(w) && to_worker[channel[w]]?[RECORD_SET, _, _] -> /* fdexec.c: start */
		faults--;
		to_worker[channel[w]]?RECORD_SET(n, g);
		copies[connection(g)]--;
		answer(w, RECORD_REFUSED, n);
		n = 0; g = 0;
		if
		:: channel[w] != NONE -> answer(w, RECORD_SLOTS, 1)
		:: else
		fi }
	:: atomic { worker[w] == ALIVE && channel[w] != NONE && !got[w] && empty(to_worker[channel[w]]) && (closed(channel[w]) || deaf[channel[w]]) -> /* inbox.c: ended, drop */
		drop_channel(w) }
	/* KILL, and perhaps another worker in its place. */
	:: atomic { faults > 0 && worker[w] != DEAD ->
		faults--;
		close_all(w);
		orphan(w);
		running[w] = 0;
		if
		:: worker[w] = ALIVE
		:: worker[w] = DEAD
		fi }
	:: atomic { faults > 0 && worker[w] == ALIVE -> faults--; worker[w] = STOPPED }
	:: atomic { faults > 0 && worker[w] == ALIVE -> /* fdexec.c: main; inbox.c: inbox_close */
		faults--;
		close_all(w);
		worker[w] = ENDING }
#ifdef HALVES
	:: atomic { faults > 0 && worker[w] == ALIVE && channel[w] != NONE && !mute[channel[w]] -> faults--; mute[channel[w]] = 1 }
	:: atomic { faults > 0 && worker[w] == ALIVE && channel[w] != NONE && !deaf[channel[w]] -> faults--; deaf[channel[w]] = 1 }
#endif
	od
}

/* ---- a command's steps ---- */

/* Its worker, which may have lost the channel meanwhile, hears of its end; that it CANCELED, if it could not acknowledge. */
inline reap(g, canceled) /* jobs.c: jobs_reap; fdexec.c: reap, job_ended */
{
	w = job_of[g];
	running[w]--;
	if
	:: canceled && channel[w] != NONE && channel[w] == job_at[g] -> drop_channel(w) /* inbox.c: inbox_drop */
	:: !canceled && channel[w] != NONE && channel[w] == job_at[g] -> answer(w, RECORD_DONE, job_id[g])
	:: channel[w] != NONE && channel[w] != job_at[g] && promised[w] != NONE && promised[w] < places(w) -> /* channel.c: channel_offer_one */
		promised[w]++;
		answer(w, RECORD_SLOTS, 1)
	:: else
	fi;
	w = 0
}

/* The process has ended, and closed its copy of the connection. Its worker reaps it at once: if it is late, that is as if
 * the process had ended later. */
inline exit(g, canceled)
{
	copies[connection(g)]--;
	if
	:: job_of[g] != WORKERS && worker[job_of[g]] != STOPPED -> reap(g, canceled)
	:: else
	fi;
	job[g] = FREE; job_of[g] = 0; job_at[g] = 0; job_id[g] = 0
}

/* The process has no copy of the channel any more. */
inline leave_channel(g)
{
	let_go(job_at[g]);
	if
	:: job_of[g] == WORKERS || channel[job_of[g]] != job_at[g] -> job_at[g] = NONE
	:: else
	fi
}

proctype Job(byte j)
{
	byte w, g;
end:	do
	/* The step on which all depends: taken, and then COMMAND; or nothing. */
	:: d_step { job[j] == BORN -> /* launch.c: run, execute */
		if
#ifdef EXECUTES_ANYWAY
		:: !sends(job_at[j]) -> started[connection(j)]++; job[j] = RUNS
#else
		:: !sends(job_at[j]) -> job[j] = CANCELED
#endif
		:: else ->
			assert(nfull(to_dispatcher[job_at[j]]));
#ifndef ACKNOWLEDGES_ITSELF
			to_dispatcher[job_at[j]]!RECORD_TAKEN(job_id[j]);
			started[connection(j)]++;
#endif
			job[j] = RUNS
		fi;
		assert(started[connection(j)] <= 1);
		leave_channel(j);
		if
		:: job[j] == CANCELED -> exit(j, true)
		:: else
		fi;
		g = 0; w = 0 }
	:: d_step { job[j] == RUNS -> ended[connection(j)] = 1; exit(j, false); g = 0; w = 0 }
	/* KILL and STOP for the process that is no command yet. */
	:: d_step { faults > 0 && (job[j] == BORN || job[j] == FROZEN) -> faults--; leave_channel(j); exit(j, false); g = 0; w = 0 }
	:: d_step { faults > 0 && job[j] == BORN -> faults--; job[j] = FROZEN }
	od
}

/* ---- the rest of the world ---- */

proctype Killer() /* of the dispatcher */
{
	byte c, g;
end:	atomic { faults > 0 ->
		faults--;
		dispatcher_killed = 1;
		do
		:: c < CHANNELS ->
			if
			:: state[c] != ABSENT -> state[c] = CLOSED
			:: else
			fi;
			slots[c] = 0;
			runs[c] = 0;
			do
			:: to_dispatcher[c]?_(_)
			:: empty(to_dispatcher[c]) -> break
			od;
			unused(c);
			c++
		:: else -> break
		od;
		c = 0 }
}

#define willing(w) (worker[w] == ALIVE && running[w] < places(w))
#if FAULTS == 0
#define anything_owed (owing(0) || owing(1))
#elif FAULTS == 1
#define anything_owed (owing(0) || owing(1) || owing(2))
#elif FAULTS == 2
#define anything_owed (owing(0) || owing(1) || owing(2) || owing(3))
#else
#define anything_owed (owing(0) || owing(1) || owing(2) || owing(3) || owing(4))
#endif

/* The worker at the other end of I is stopped for ever. */
#define stuck(i) (channel[0] == i && worker[0] == STOPPED || channel[1] == i && worker[1] == STOPPED)

/* Nothing more will happen. */
proctype Judge()
{
	byte c, w;
	atomic { timeout && (dispatcher_killed || !anything_owed) ->
		do
		:: !dispatcher_killed && c < CONNECTIONS ->
			/* While a worker lives and is willing, each connection is started. */
			assert(started[c] == 1 || !(willing(0) || willing(1)));
			/* What is not started is held, and what is started is not. */
			assert(started[c] == 1 || ticket[c] == QUEUED || ticket[c] == WAITING);
			assert(started[c] == 0 || ticket[c] == OVER || ticket[c] == RUNNING && stuck(at[c]));
			/* Its client sees the end of what has ended; but not if, of two workers that it was given to, one is stopped with a
			 * copy and nobody is there to tell that the other's command has ended. */
			assert(started[c] == 0 || ended[c] && (copies[c] == 0 && ticket[c] == OVER || hung_up[c] || untold[c] || ticket[c] == RUNNING));
			c++
		:: else -> break
		od;
		do
		:: !dispatcher_killed && w < WORKERS ->
			/* Each worker has all its slots again. */
			assert(worker[w] != ALIVE || running[w] == places(w) || channel[w] != NONE && slots[channel[w]] == places(w) - running[w]);
			w++
		:: else -> break
		od }
}

init
{
	byte i;
	atomic {
		channel[0] = NONE; channel[1] = NONE;
		promised[0] = NONE; promised[1] = NONE;
		run Door();
		run Worker(0);
		run Worker(1);
		i = 0;
		do
		:: i < CHANNELS -> run Channel(i); i++
		:: else -> break
		od;
		i = 1;
		do
		:: i <= GIVEN -> run Job(i); i++
		:: else -> break
		od;
		run Killer();
		run Judge();
		i = 0
	}
}
