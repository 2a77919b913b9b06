/* See pager.h. Lines are counted as they stand; a line that the terminal wraps takes more of
 * the screen than is counted, which only means a page scrolls a little. */
#include "console/pager.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include "console/interrupt.h"

static int screen_lines(FILE *out)
{
    struct winsize size;
    if (ioctl(fileno(out), TIOCGWINSZ, &size) != 0 || size.ws_row < 3) {
        return 24;
    }
    return size.ws_row;
}

static size_t count_lines(struct span text)
{
    size_t n = 1;
    for (size_t i = 0; i < text.len; i++) {
        n += text.data[i] == '\n';
    }
    return n;
}

/* The place behind the next `lines` lines. */
static size_t advance(struct span text, size_t at, size_t lines)
{
    while (lines > 0 && at < text.len) {
        const char *end = memchr(text.data + at, '\n', text.len - at);
        at = end != NULL ? (size_t)(end - text.data) + 1 : text.len;
        lines--;
    }
    return at;
}

/* One key; 'q' for anything that means the end. */
static char read_key(void)
{
    while (true) {
        char key;
        struct pollfd p[2] = { { STDIN_FILENO, POLLIN, 0 }, { interrupt_fd(), POLLIN, 0 } };
        int n = poll(p, 2, -1);
        if (interrupt_count() > 0 || (n < 0 && errno != EINTR)) {
            return 'q';
        }
        if (n > 0 && p[0].revents != 0) {
            return read(STDIN_FILENO, &key, 1) == 1 ? key : 'q';
        }
    }
}

static size_t ask(FILE *out, size_t shown, size_t lines, int screen, bool colour)
{
    char text[80];
    struct winsize size;
    int n =
        snprintf(text, sizeof text,
                 "-- %zu of %zu lines: space goes on, Enter one line, q leaves --", shown, lines);
    if (ioctl(fileno(out), TIOCGWINSZ, &size) == 0 && n >= size.ws_col) {
        (void)snprintf(text, sizeof text, "-- more (q ends) --");
    }
    (void)fprintf(out, "%s%s%s", colour ? "\33[7m" : "", text, colour ? "\33[0m" : "");
    (void)fflush(out);
    char key = read_key();
    (void)fputs("\r\33[K", out);
    if (key == '\n' || key == '\r' || key == 'j') {
        return 1;
    }
    return key == 'q' || key == 'Q' || key == 3 || key == 4 || key == 27 ? 0 : (size_t)screen - 2;
}

bool pager_show(FILE *out, struct span text, bool colour)
{
    int screen = screen_lines(out);
    size_t lines = count_lines(text);
    struct termios old, raw;
    if (lines < (size_t)screen || isatty(STDIN_FILENO) != 1 || tcgetattr(STDIN_FILENO, &old) != 0) {
        return false;
    }
    raw = old;
    raw.c_lflag &= (tcflag_t) ~(ICANON | ECHO);
    raw.c_cc[VMIN] = 1;
    raw.c_cc[VTIME] = 0;
    (void)tcsetattr(STDIN_FILENO, TCSADRAIN, &raw);
    size_t at = 0, shown = 0, more = (size_t)screen - 1;
    while (more > 0 && at < text.len) {
        size_t to = advance(text, at, more);
        (void)fwrite(text.data + at, 1, to - at, out);
        shown += more < lines - shown ? more : lines - shown;
        at = to;
        more = at < text.len ? ask(out, shown, lines, screen, colour) : 0;
    }
    if (at == text.len && text.len > 0 && text.data[text.len - 1] != '\n') {
        (void)fputc('\n', out);
    }
    (void)tcsetattr(STDIN_FILENO, TCSADRAIN, &old);
    return true;
}
