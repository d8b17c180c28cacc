/* SPDX-License-Identifier: ISC */
/* fdrun --pty, the keeper that fdexec makes for it, and COMMAND: how COMMAND's end comes back, and that nothing stays
 * behind: no COMMAND that nobody hung up, no keeper, no terminal in raw mode.
 *
 * A step is one system call, or several that nobody can come between. FAULTS of these happen, at any time: KILL for fdrun,
 * the keeper, fdexec or COMMAND; TERM for fdrun, which passes it on or dies of it, or for fdexec; a stop of COMMAND.
 * COMMAND ends by itself, by HUP, or by TERM; or by none of these, and then it stays with its fdrun, or gets HUP. */
#ifndef FAULTS
#define FAULTS 3
#endif
#define QUEUE (FAULTS + 3)

/* lib/record.h */
mtype = { RECORD_RUN, RECORD_TAKES, RECORD_TAKEN, RECORD_REFUSED, RECORD_SIGNAL, RECORD_STOPPED, RECORD_ENDED };
mtype = { NO, HUP, TERM, CONT, KILL }; /* signals */

/* Kernel: what is queued can be read after the other side has closed; then comes end of file. */
chan to_server = [QUEUE] of { mtype, mtype };   /* word, signal */
chan to_client = [QUEUE] of { mtype };
bit client_closed;
byte holders = 1;                       /* copies of the server's end */

mtype = { ASKS, REQUESTS, FOLLOWS, STOPS, LEFT, DIED, KILLED };
mtype client = ASKS;                    /* fdrun; DIED: by TERM, before COMMAND had begun */
bit raw;                                /* the terminal is in raw mode */
bit client_term;                        /* TERM has come, and is not read */

mtype = { WORKS, MADE, ENDS, GONE };
mtype fdexec = WORKS;                   /* MADE: a keeper; ENDS: it waits for its end */

mtype = { ABSENT, AWAITS, KEEPS, OVER };
mtype keeper = ABSENT;                  /* AWAITS: the request */
bit connected = 1;                      /* it has the connection still */
bit keeper_hup, keeper_term;
bit again;                              /* its next TERM is KILL for COMMAND */
bit unwanted;                           /* the process could not say taken: it executed nothing */

mtype = { BORN, RUNS, STOPPED, ZOMBIE };
mtype command = ABSENT;
bit command_hup, command_term;
bit stop_told = 1;
bit loyal;                              /* it does not end by itself, */
bit stubborn;                           /* nor by HUP and TERM */

byte faults = FAULTS;
bit began, hung_up;
bit forced;                             /* the keeper was killed, or had to go */
byte told;                              /* how it ended, so many times */

#define serves (holders > 0)

/* The keeper, or fdexec before there is one, closes. */
inline close_server() { holders-- }

inline tell(word) /* fdexec_run.c: tell */
{
	if
	:: connected && !client_closed -> assert(nfull(to_client)); to_client!word
	:: else
	fi
}

inline to_group(sig) /* fdexec_run.c: pass_on, act_on, hang_up */
{
	/* No other process can have its number: it is not reaped. */
	assert(command != ABSENT);
	if
	:: sig == HUP && command != ZOMBIE -> command_hup = 1; hung_up = 1
	:: sig == TERM && command != ZOMBIE -> command_term = 1
	:: sig == CONT && command == STOPPED -> command = RUNS; stop_told = 1
	:: sig == KILL -> command = ZOMBIE
	:: else
	fi
}

inline hang_up() /* fdexec_run.c: hang_up */
{
	if
	:: command == ABSENT -> keeper = OVER; close_server()
	:: command != ABSENT && connected ->
		to_group(HUP);
#ifndef NO_CONT
		to_group(CONT);
#endif
		connected = 0;
		close_server()
	:: else
	fi
}

/* ---- fdrun ---- */

inline leave(how) /* fdrun.c: leave; terminal.c: terminal_give_back */
{
#ifndef RAW_STAYS
	raw = 0;
#endif
	client = how;
	do
	:: to_client?_
	:: empty(to_client) -> break
	od;
	client_closed = 1
}

inline send(word, sig)
{
	if
	:: serves -> assert(nfull(to_server)); to_server!word(sig)
	:: else
	fi
}

#define hears(word) (to_client?[word])

active proctype Fdrun()
{
	send(RECORD_RUN, NO); /* fdrun.c: begin */
end:	do
	:: d_step { client == ASKS && hears(RECORD_TAKES) -> /* fdrun.c: await_word, begin; fdrun_request.c: request_send */
		to_client?RECORD_TAKES;
		client = REQUESTS;
		send(RECORD_RUN, NO) }
	:: d_step { client == REQUESTS && hears(RECORD_TAKEN) -> /* fdrun.c: begin */
		to_client?RECORD_TAKEN;
		client = FOLLOWS }
	:: d_step { client == FOLLOWS && !raw -> raw = 1 } /* terminal.c: terminal_poll, terminal_take */
	:: d_step { client == FOLLOWS && hears(RECORD_STOPPED) -> /* fdrun.c: act_on, stop */
		to_client?RECORD_STOPPED;
#ifndef RAW_WHILE_STOPPED
		raw = 0;
#endif
		client = STOPS }
	/* The shell continues it. */
	:: d_step { client == STOPS -> /* fdrun.c: stop, pass_on */
		assert(!raw);
		client = FOLLOWS;
		raw = 1;
		send(RECORD_SIGNAL, CONT) }
	:: d_step { (client == REQUESTS || client == FOLLOWS) && hears(RECORD_ENDED) -> /* fdrun.c: act_on */
		told++;
		assert(told == 1 && (command == ABSENT || command == ZOMBIE));
		leave(LEFT) }
	:: d_step { (client == ASKS || client == REQUESTS || client == FOLLOWS) && hears(RECORD_REFUSED) -> leave(LEFT) } /* fdrun.c: hear */
	:: d_step { (client == ASKS || client == REQUESTS || client == FOLLOWS) && empty(to_client) && !serves -> leave(LEFT) } /* fdrun.c: hear */
	:: d_step { client_term && client == FOLLOWS -> client_term = 0; send(RECORD_SIGNAL, TERM) } /* fdrun.c: follow, pass_on */
	:: d_step { client_term && (client == ASKS || client == REQUESTS) -> client_term = 0; leave(DIED) } /* fdrun.c: begin */
	od
}

/* ---- fdexec ---- */

active proctype Fdexec()
{
end:	do
	:: d_step { fdexec == WORKS && to_server?[RECORD_RUN, _] -> /* inbox.c: release; fdexec.c: tell_takes, run; jobs.c: jobs_fork; launch.c: launch_fork */
		to_server?RECORD_RUN(_);
		tell(RECORD_TAKES);
		fdexec = MADE;
		keeper = AWAITS }
	:: d_step { fdexec == WORKS && empty(to_server) && client_closed -> fdexec = GONE; close_server() } /* inbox.c: ended */
	:: d_step { fdexec == WORKS && faults > 0 -> faults--; fdexec = GONE; close_server() } /* fdexec.c: main; or KILL */
	/* It ends: at first it waits. */
	:: d_step { fdexec == MADE && faults > 0 -> faults--; fdexec = ENDS } /* fdexec.c: finish */
	:: d_step { fdexec == ENDS && faults > 0 && keeper != OVER -> faults--; keeper_term = 1 } /* fdexec.c: finish; jobs.c: jobs_kill */
	/* KILL. The keeper's prctl(2) asks for HUP then. */
	:: d_step { (fdexec == MADE || fdexec == ENDS) && faults > 0 -> faults--; fdexec = GONE; keeper_hup = (keeper != OVER) }
	od
}

/* ---- the keeper ---- */

/* The keeper has ended. Kernel: prctl(2) with PR_SET_PDEATHSIG; and the group of COMMAND is orphaned, so that HUP and CONT go to one
 * that is stopped (exit(3p)). */
inline abandon()
{
	if
	:: command == ZOMBIE -> command = ABSENT
	:: command == STOPPED -> command_hup = 1; hung_up = 1; command = RUNS
#ifndef NO_DEATH_SIGNAL
	:: command == RUNS -> command_hup = 1; hung_up = 1
#endif
	:: else
	fi
}

active proctype Keeper()
{
	mtype sig;
end:	do
	:: d_step { keeper == AWAITS && to_server?[RECORD_RUN, _] -> /* fdexec_run.c: hear, begin; launch.c: launch_start */
		to_server?RECORD_RUN(_);
		keeper = KEEPS;
		command = BORN;
		holders++ }
	:: d_step { keeper == AWAITS && faults > 0 -> faults--; tell(RECORD_REFUSED); keeper = OVER; close_server() } /* fdexec_run.c: refuse, keep */
	:: d_step { keeper == AWAITS && empty(to_server) && client_closed -> hang_up() } /* fdexec_run.c: hear */
	/* While the process is there that becomes COMMAND, it waits for that (launch.c: start_and_wait). */
	:: d_step { keeper == KEEPS && command != BORN && connected && to_server?[RECORD_SIGNAL, _] -> /* fdexec_run.c: hear, pass_on */
		to_server?RECORD_SIGNAL(sig);
		to_group(sig);
		sig = NO }
	:: d_step { keeper == KEEPS && command != BORN && connected && empty(to_server) && client_closed -> /* fdexec_run.c: hear */
#ifndef NO_HANG_UP
		hang_up()
#else
		connected = 0; close_server()
#endif
		}
	:: d_step { keeper == KEEPS && command == STOPPED && !stop_told -> /* fdexec_run.c: reap */
		stop_told = 1;
#ifdef ENDED_AT_STOP
		tell(RECORD_ENDED) }
#else
		tell(RECORD_STOPPED) }
#endif
	:: d_step { keeper == KEEPS && command == ZOMBIE -> /* fdexec_run.c: reap */
#ifndef NOT_TOLD
		tell(RECORD_ENDED);
#endif
		command = ABSENT;
#ifndef KEEPER_STAYS
		keeper = OVER;
		if
		:: connected -> close_server()
		:: else
		fi
#endif
		}
	:: d_step { (keeper == AWAITS || keeper == KEEPS && command != BORN) && keeper_term -> /* fdexec_run.c: act_on */
		keeper_term = 0;
		if
		:: command == ABSENT -> hang_up()
		:: else ->
			to_group((again -> KILL : TERM));
			again = 1
		fi }
	:: d_step { (keeper == AWAITS || keeper == KEEPS && command != BORN) && keeper_hup -> /* fdexec_run.c: act_on, hang_up */
		keeper_hup = 0;
		forced = 1;
		hang_up();
		if
		:: keeper != OVER -> keeper = OVER; abandon();
			if
			:: connected -> close_server()
			:: else
			fi
		:: else
		fi }
	/* KILL */
	:: d_step { faults > 0 && (keeper == AWAITS || keeper == KEEPS) ->
		faults--;
		forced = 1;
		keeper = OVER;
		if
		:: connected -> close_server()
		:: else
		fi;
		abandon() }
	od
}

/* ---- COMMAND ---- */

active proctype Command()
{
end:	do
	/* Its parent is asked for: a process without one is no COMMAND. */
#ifndef EXECUTES_ANYWAY
	:: atomic { command == BORN && (client_closed || keeper == OVER) -> /* launch.c: run, lead */
		holders--;
		if
		:: keeper == OVER -> command = ABSENT
		:: else -> unwanted = 1; command = ZOMBIE
		fi }
	:: atomic { command == BORN && !client_closed && keeper != OVER -> /* launch.c: run, execute */
#else
	:: atomic { command == BORN ->
#endif
		assert(!client_closed && keeper != OVER);
		to_client!RECORD_TAKEN;
		began = 1;
		holders--;
		command = RUNS;
		if
		:: loyal = 1
		:: skip
		fi;
		if
		:: stubborn = 1
		:: skip
		fi }
	:: d_step { command == RUNS && !loyal -> command = (keeper == OVER -> ABSENT : ZOMBIE) }
	:: d_step { command == RUNS && !stubborn && (command_hup || command_term) -> command = (keeper == OVER -> ABSENT : ZOMBIE) }
	/* Kernel: HUP comes before a signal that stops. */
	:: d_step { command == RUNS && faults > 0 && keeper != OVER && (stubborn || !command_hup) -> faults--; command = STOPPED; stop_told = 0 }
	:: d_step { (command == RUNS || command == STOPPED) && faults > 0 -> faults--; command = (keeper == OVER -> ABSENT : ZOMBIE) }
	od
}

active proctype World()
{
end:	do
	:: d_step { faults > 0 && client != LEFT && client != DIED && client != KILLED -> /* KILL */
		faults--;
		client = KILLED;
		do
		:: to_client?_
		:: empty(to_client) -> break
		od;
		client_closed = 1 }
	:: d_step { faults > 0 && client != LEFT && client != DIED && client != KILLED && !client_term -> faults--; client_term = 1 }
	od
}

#define together (client == FOLLOWS && keeper == KEEPS && connected)

active proctype Judge()
{
	atomic { timeout ->
		/* What COMMAND was is known once it has ended, unless somebody was killed who would have told. */
		assert(client == FOLLOWS || client == LEFT || client == DIED || client == KILLED);
		assert(client != FOLLOWS || together && command == RUNS);
		assert(!(client == LEFT && began && told == 0) || forced);
		/* No COMMAND is left that nobody waits for and that did not get HUP; nor, if HUP ends it, at all. */
		assert(command == ABSENT || together || hung_up && stubborn);
		/* No keeper is left without COMMAND. */
		assert(keeper == ABSENT || keeper == OVER || command == RUNS || command == STOPPED);
		assert(!raw || client == FOLLOWS || client == KILLED);
		assert(serves == together) }
}
