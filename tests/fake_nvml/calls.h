/* A libnvidia-ml.so.1 for tests: the calls of nvml.h that monitoring uses, answered from a state file.
 *
 * Kept from the real library: size probes answer INSUFFICIENT_SIZE with the count (SUCCESS only when
 * there is nothing), GetSamples answers its probe with SUCCESS, a field batch succeeds outside and
 * reports per field inside, versioned structs check their version, no MIG is 0xFFFFFFFF, unknown
 * memory is ~0, nothing works after the last shutdown.
 *
 * Flavours: -DFLAVOUR_OLD leaves out what a driver of about 2018 does not have; -DFLAVOUR_535 widens
 * the process struct to 32 bytes under its old name, as the first 535 drivers did.
 */
#ifndef FAKE_NVML_CALLS_H
#define FAKE_NVML_CALLS_H

#define NVML_NO_UNVERSIONED_FUNC_DEFS
#ifdef FLAVOUR_535 /* these have another struct here than in the header */
#define nvmlDeviceGetComputeRunningProcesses_v3 header_compute_v3
#define nvmlDeviceGetGraphicsRunningProcesses_v3 header_graphics_v3
#define nvmlDeviceGetMPSComputeRunningProcesses_v3 header_mps_v3
#endif
#include "state.h"
#undef nvmlDeviceGetComputeRunningProcesses_v3
#undef nvmlDeviceGetGraphicsRunningProcesses_v3
#undef nvmlDeviceGetMPSComputeRunningProcesses_v3

#define SLOTS 64
#define MIG_PLACES 8 /* MIG indices of one GPU */
#define NO_VALUE 0xFFFFFFFFFFFFFFFFull

/* A MIG device has a slot of its own past those of the GPUs: SLOTS * (1 + MIG index) + the GPU's slot. */
struct nvmlDevice_st {
    int slot;
};

extern struct nvmlDevice_st devices[SLOTS * (1 + MIG_PLACES)];

int is_mig(int slot);
int gpu_of(int slot);

/* Where the keys of a slot begin: `gpu.2` or `gpu.2.mig.5`. */
const char *prefix(char out[32], int slot);

/* Logs the call, hangs if told so, and answers what the whole driver has to say. */
nvmlReturn_t enter(const char *function);

/* The same for one GPU, whose slot it finds. */
nvmlReturn_t enter_device(const char *function, nvmlDevice_t device, const char *extra, int *slot);

/* The !CODE of a key, or success; the format gets the argument. */
nvmlReturn_t scripted(const char *format, const char *argument);

void hang(const char *key);
void pause_ms(unsigned long long ms);
int visible(int slot);

/* A GPU's value by name, or its error. */
nvmlReturn_t text(char *out, unsigned int size, int slot, const char *name);
nvmlReturn_t integer(unsigned long long *out, int slot, const char *name);
nvmlReturn_t narrow(unsigned int *out, int slot, const char *name);

/* Two values; the second is the first where it is not told. */
nvmlReturn_t pair(unsigned int *first, unsigned int *second, int slot, const char *a, const char *b);

#define DEVICE(device)                                                     \
    int slot = -1;                                                         \
    {                                                                      \
        nvmlReturn_t rc_ = enter_device(__func__, device, "", &slot);      \
        if (rc_)                                                           \
            return rc_;                                                    \
    }

#define SYSTEM()                                                           \
    {                                                                      \
        nvmlReturn_t rc_ = enter(__func__);                                \
        if (rc_)                                                           \
            return rc_;                                                    \
    }

#define TEXT_GETTER(function, name)                                              \
    nvmlReturn_t function(nvmlDevice_t device, char *out, unsigned int length)   \
    {                                                                            \
        DEVICE(device);                                                          \
        return text(out, length, slot, name);                                    \
    }

#define NUMBER_GETTER(function, type, name)                                      \
    nvmlReturn_t function(nvmlDevice_t device, type *out)                        \
    {                                                                            \
        unsigned long long value;                                                \
        DEVICE(device);                                                          \
        nvmlReturn_t rc = integer(&value, slot, name);                           \
        if (rc == NVML_SUCCESS)                                                  \
            *out = (type)value;                                                  \
        return rc;                                                               \
    }

#endif
