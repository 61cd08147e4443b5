/* SPDX-License-Identifier: MIT */
/* Two processes take turns at one sequence of operations. */
#ifndef HMM_TESTS_TURNS_H
#define HMM_TESTS_TURNS_H

#include <stdbool.h>
#include <sys/types.h>

struct turns {
	unsigned int me; /* 0, or the other process 1 */
	pid_t other;     /* of process 0: process 1; 0: there is none */
	int from, to;
};

/* With @two there is another process from here on, which gets the same result. */
int turns_begin(struct turns *t, bool two);
/* After one of this process' turns: how it went. */
void turns_done(struct turns *t, bool well);
/* The other one's turn: how it went; false also when it is no more. */
bool turns_wait(struct turns *t);
/* Process 1 ends here, and process 0 waits for it: has it ended well? */
bool turns_end(struct turns *t, bool well);

#endif /* HMM_TESTS_TURNS_H */
