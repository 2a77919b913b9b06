/* See output.h. SIGPIPE stays ignored, because a node that goes away is an error code; so a reader
 * that went away is an error of a write, and then we end as that signal ends others. */
#include "console/output.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "console/console.h"
#include "console/render.h"

static bool optional;

void output_open(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
        if (fcntl(fd, F_GETFD) < 0) { /* the lowest free number is what open() gives */
            (void)open("/dev/null", fd == STDERR_FILENO ? O_WRONLY : O_RDONLY);
        }
    }
}

void output_optional(void) { optional = true; }

static void end(int why)
{
    struct error e;
    if (why == EPIPE) {
        (void)signal(SIGPIPE, SIG_DFL);
        (void)raise(SIGPIPE);
    }
    (void)error_set(&e, why == ENOSPC ? ERR_NOSPACE : ERR_IO, "the output could not be written: %s",
                    strerror(why));
    error_hint(&e, "what was asked for may have been done: look before you repeat it");
    render_error(&e, span_make("", 0));
    _exit(EXIT_REFUSED);
}

void output_flush(FILE *out)
{
    int why = fflush(out) != 0 ? errno : ferror(out) != 0 ? EIO : 0; /* EIO: why is forgotten */
    if (why != 0 && !optional) {
        end(why);
    }
}

int output_end(int status)
{
    output_flush(stdout);
    return status;
}
