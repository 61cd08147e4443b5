// SPDX-License-Identifier: MIT
#include "model/turns.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

int turns_begin(struct turns *t, bool two)
{
	int there[2], back[2];

	*t = (struct turns){ .from = -1, .to = -1 };
	if (!two)
		return 0;
	if (pipe2(there, O_CLOEXEC) || pipe2(back, O_CLOEXEC))
		return -errno;
	signal(SIGPIPE, SIG_IGN);
	t->other = fork();
	if (t->other < 0)
		return -errno;
	t->me = !t->other;
	if (t->me)
		prctl(PR_SET_PDEATHSIG, SIGKILL);
	t->from = t->me ? there[0] : back[0];
	t->to = t->me ? back[1] : there[1];
	close(t->me ? there[1] : there[0]);
	close(t->me ? back[0] : back[1]);
	return 0;
}

void turns_done(struct turns *t, bool well)
{
	char c = (char)well;

	/* Who does not read any more is noticed when it is its turn. */
	if (t->to >= 0 && write(t->to, &c, 1) != 1)
		return;
}

bool turns_wait(struct turns *t)
{
	char c = 0;

	return read(t->from, &c, 1) == 1 && c;
}

bool turns_end(struct turns *t, bool well)
{
	int status = 0;

	if (t->me)
		_exit(well ? 0 : 1);
	if (!t->other)
		return well;
	close(t->from);
	close(t->to);
	return waitpid(t->other, &status, 0) == t->other && !status && well;
}
