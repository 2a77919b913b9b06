#include "base/assert.h"

#include <stdio.h>
#include <stdlib.h>

_Noreturn void assert_failed(const char *text, const char *file, int line)
{
    (void)fprintf(stderr, "usher: bug: assertion failed: %s (%s:%d)\n", text, file, line);
    abort();
}
