/* The scripted state of the fake driver: a file of `key = value` lines that tests replace atomically.
 *
 * Values: a number (decimal, 0x…, negative), text, or
 *   !CODE              the call or field answers with this nvmlReturn_t
 *   ~MEAN AMP PERIOD   a sine over PERIOD seconds, out of phase from GPU to GPU
 *   +BASE RATE         grows by RATE a second from the time `since` (Unix seconds)
 * A key that is not there means that the driver does not support it. README.md lists the keys.
 */
#ifndef FAKE_NVML_STATE_H
#define FAKE_NVML_STATE_H

#include <nvml.h>
#include <stddef.h>

/* Take the files from here on (NULL: none). */
void state_configure(const char *state_path, const char *log_path);

/* Begins a call: reads the state file again if it was replaced, and writes a line into the call log
 * (pid, function, GPU slot or -1, extra text). */
void state_call(const char *function, int slot, const char *extra);

/* Reads the state file again if it was replaced: for calls that wait. */
void state_refresh(void);

/* Text of a key, copied; 0 where the key is missing. The key is a printf format. */
int state_text(char *out, size_t size, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* Number of a key: NVML_SUCCESS, its !CODE, or NVML_ERROR_NOT_SUPPORTED where it is missing. */
nvmlReturn_t state_number(int slot, double *out, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
nvmlReturn_t state_integer(int slot, unsigned long long *out, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Calls visit(key after the prefix, value, context) for each key with that prefix, in file order. */
void state_each(const char *prefix, void (*visit)(const char *rest, const char *value, void *context),
                void *context);

/* Microseconds since 1970. */
unsigned long long state_now(void);

#endif
