/* SPDX-License-Identifier: ISC */
#include "fdserve_choice.h"
#include "door.h"
#include "wait.h"

static bool can_take(const struct worker *w)
{
	return w->slots && !w->full && w->state == WORKS && (!w->crowded || !time_left(w->crowded));
}

size_t dispatch_slots(const struct dispatch *d)
{
	size_t slots = 0;
	for (size_t i = 0; i < d->workers && slots < SLOTS_MOST; i++)
		if (can_take(d->worker[i]))
			slots += d->worker[i]->slots;
	return slots < SLOTS_MOST ? slots : SLOTS_MOST;
}

size_t dispatch_room(const struct dispatch *d)
{
	size_t slots = dispatch_slots(d);
	return slots > d->waiting.count ? slots - d->waiting.count : 0;
}

/* Is A rather than B the one for T? One that has acknowledged something comes first where another worker has given T
 * back; then a uid that owes less; then uids in turn: so promises alone keep nothing from others. Of one uid's
 * workers the one with the most free slots. */
static bool better(const struct ticket *t, const struct worker *a, const struct worker *b)
{
	if (t->returned && (a->trust == TAKES) != (b->trust == TAKES))
		return a->trust == TAKES;
	if (a->share->owed != b->share->owed)
		return a->share->owed < b->share->owed;
	return a->share != b->share ? a->share->turn < b->share->turn : a->slots > b->slots;
}

struct worker *best_for(struct dispatch *d, const struct ticket *t)
{
	struct worker *best = NULL;
	size_t first = d->turn;
	for (size_t k = 0; k < d->workers; k++) {
		size_t i = (first + k) % d->workers;
		if (!can_take(d->worker[i]) || (best && !better(t, d->worker[i], best)))
			continue;
		best = d->worker[i];
		d->turn = i + 1;
	}
	return best;
}
