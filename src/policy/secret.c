/* Which words of a request are nobody's business: what `monitor` and `log` show as ***. */
#include <string.h>

#include "policy/command.h"

static const char *const secrets[] = { "--code", "--password" };

bool command_hides_next(struct span word)
{
    for (size_t i = 0; i < sizeof secrets / sizeof secrets[0]; i++) {
        if (span_is(word, secrets[i])) {
            return true;
        }
    }
    return false;
}

size_t command_hides_after(struct span word)
{
    for (size_t i = 0; i < sizeof secrets / sizeof secrets[0]; i++) {
        size_t n = strlen(secrets[i]);
        if (word.len > n && memcmp(word.data, secrets[i], n) == 0 && word.data[n] == '=') {
            return n + 1;
        }
    }
    return 0;
}
