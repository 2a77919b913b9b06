/* See interrupt.h. The handler does the two things a handler may: it counts and writes a byte
 * into a pipe that never blocks. */
#include "console/interrupt.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

static volatile sig_atomic_t count;
static int ends[2] = { -1, -1 };
static struct sigaction old_int, old_stop, old_quit;
static bool guarded;

static void on_interrupt(int number)
{
    int saved = errno;
    (void)number;
    count = count + 1;
    (void)!write(ends[1], "", 1);
    errno = saved;
}

bool interrupt_take(bool guard)
{
    struct sigaction on = { .sa_handler = on_interrupt }, ignore = { .sa_handler = SIG_IGN };
    if (ends[0] < 0 && pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0) {
        return false;
    }
    count = 0;
    guarded = guard;
    (void)sigaction(SIGINT, &on, &old_int);
    if (guard) {
        (void)sigaction(SIGTSTP, &ignore, &old_stop);
        (void)sigaction(SIGQUIT, &ignore, &old_quit);
    }
    return true;
}

void interrupt_release(void)
{
    (void)sigaction(SIGINT, &old_int, NULL);
    if (guarded) {
        (void)sigaction(SIGTSTP, &old_stop, NULL);
        (void)sigaction(SIGQUIT, &old_quit, NULL);
    }
}

void interrupt_clear(void)
{
    char drain[64];
    while (read(ends[0], drain, sizeof drain) > 0) {
    }
    count = 0;
}

unsigned interrupt_count(void) { return (unsigned)count; }

const volatile sig_atomic_t *interrupt_counter(void) { return &count; }

int interrupt_fd(void) { return ends[0]; }
