/* SPDX-License-Identifier: ISC */
/* replay-NAME MUTATIONS FILE...: run each file through the harness as it is, and changed in MUTATIONS ways, the
 * same in every run. For where there is no libFuzzer. What is being run stands in the file replaying. */
#include "fuzz.h"

#include <err.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MOST = 65536, SECONDS = 20 };

static uint64_t state;

/* xorshift64 */
static size_t below(size_t n)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return (size_t)(state % n);
}

static size_t change(uint8_t *data, size_t len)
{
	for (size_t n = 1 + below(4); n; n--) {
		size_t at = below(len + 1), more = 1 + below(16);
		switch (below(4)) {
		case 0: /* another byte */
			if (at < len)
				data[at] = (uint8_t)below(256);
			break;
		case 1: /* some less */
			more = more < len - at ? more : len - at;
			memmove(data + at, data + at + more, len - at - more);
			len -= more;
			break;
		case 2: /* some twice */
			more = more < len - at ? more : len - at;
			if (len + more <= MOST) {
				memmove(data + at + more, data + at, len - at);
				len += more;
			}
			break;
		default: /* a bit */
			if (at < len)
				data[at] ^= (uint8_t)(1 << below(8));
		}
	}
	return len;
}

/* What aborts does so in the middle of an input: that has to be kept before. */
static void run(int aside, const uint8_t *data, size_t len)
{
	if (ftruncate(aside, 0) == -1 || pwrite(aside, data, len, 0) != (ssize_t)len)
		err(2, "replaying");
	uint8_t *exact = malloc(len ? len : 1);
	if (!exact)
		err(2, "replaying");
	memcpy(exact, data, len);
	alarm(SECONDS);
	LLVMFuzzerTestOneInput(exact, len);
	alarm(0);
	free(exact);
}

int main(int argc, char *argv[])
{
	static uint8_t file[MOST], data[MOST];
	size_t mutations = argc > 1 ? strtoul(argv[1], NULL, 10) : 0, runs = 0;
	int aside = open("replaying", O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
	if (aside == -1)
		err(2, "replaying");
	for (int i = 2; i < argc; i++) {
		FILE *in = fopen(argv[i], "rbe");
		if (!in)
			err(2, "%s", argv[i]);
		size_t len = fread(file, 1, sizeof file, in);
		fclose(in);
		run(aside, file, len);
		runs++;
		state = 88172645463325252 + len;
		for (size_t m = 0; m < mutations; m++, runs++) {
			memcpy(data, file, len);
			run(aside, data, change(data, len));
		}
	}
	unlink("replaying");
	printf("%zu inputs\n", runs);
	return runs == 0;
}
