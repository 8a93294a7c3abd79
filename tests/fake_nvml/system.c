/* Versions, error texts and the enumeration of GPUs. */
#define _GNU_SOURCE
#include "calls.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct nvmlDevice_st devices[SLOTS * (1 + MIG_PLACES)];

void fake_nvml_configure(const char *state_path, const char *log_path)
{
    state_configure(state_path, log_path);
}

__attribute__((constructor)) static void number_devices(void)
{
    for (int slot = 0; slot < SLOTS * (1 + MIG_PLACES); slot++)
        devices[slot].slot = slot;
}

const char *nvmlErrorString(nvmlReturn_t result)
{
    switch (result) {
    case NVML_SUCCESS: return "The operation was successful";
    case NVML_ERROR_UNINITIALIZED: return "Uninitialized";
    case NVML_ERROR_INVALID_ARGUMENT: return "Invalid Argument";
    case NVML_ERROR_NOT_SUPPORTED: return "Not Supported";
    case NVML_ERROR_NO_PERMISSION: return "Insufficient Permissions";
    case NVML_ERROR_NOT_FOUND: return "Not Found";
    case NVML_ERROR_DRIVER_NOT_LOADED: return "Driver Not Loaded";
    case NVML_ERROR_GPU_IS_LOST: return "GPU is lost";
    case NVML_ERROR_RESET_REQUIRED: return "GPU requires reset";
    case NVML_ERROR_LIB_RM_VERSION_MISMATCH: return "Driver/library version mismatch";
    case NVML_ERROR_ARGUMENT_VERSION_MISMATCH: return "Argument version mismatch";
    case NVML_ERROR_DEPRECATED: return "This API has been deprecated";
    case NVML_ERROR_NOT_READY: return "System is not in ready state";
    default: return "Unknown Error";
    }
}

static nvmlReturn_t system_text(char *out, unsigned int size, const char *name)
{
    char value[128];
    if (!state_text(value, sizeof value, "%s", name))
        return NVML_ERROR_NOT_SUPPORTED;
    if (value[0] == '!')
        return (nvmlReturn_t)atoi(value + 1);
    snprintf(out, size, "%s", value);
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlSystemGetDriverVersion(char *version, unsigned int length)
{
    SYSTEM();
    return system_text(version, length, "driver_version");
}

nvmlReturn_t nvmlSystemGetNVMLVersion(char *version, unsigned int length)
{
    state_call(__func__, -1, "");
    return system_text(version, length, "nvml_version");
}

static nvmlReturn_t cuda_version(int *version)
{
    unsigned long long value;
    nvmlReturn_t rc = state_integer(0, &value, "cuda_version");
    if (rc == NVML_SUCCESS)
        *version = (int)value;
    return rc;
}

nvmlReturn_t nvmlSystemGetCudaDriverVersion(int *version)
{
    state_call(__func__, -1, "");
    return cuda_version(version);
}

#ifndef FLAVOUR_OLD
nvmlReturn_t nvmlSystemGetCudaDriverVersion_v2(int *version)
{
    state_call(__func__, -1, "");
    return cuda_version(version);
}
#endif

/* Slots in the order of their indices: `gpus = 0 2 3`, or `count = N` for the first N. */
static int enumerate(int slots[SLOTS])
{
    char list[512];
    int found = 0;
    if (state_text(list, sizeof list, "gpus")) {
        char *rest = list, *word;
        while ((word = strsep(&rest, " ,")) && found < SLOTS)
            if (*word)
                slots[found++] = atoi(word) % SLOTS;
        return found;
    }
    unsigned long long count = 0;
    state_integer(0, &count, "count");
    for (; found < SLOTS && (unsigned long long)found < count; found++)
        slots[found] = found;
    return found;
}

static int index_of(int slot)
{
    int slots[SLOTS], count = enumerate(slots);
    for (int i = 0; i < count; i++)
        if (slots[i] == slot)
            return i;
    return -1;
}

int visible(int slot)
{
    return index_of(slot) >= 0;
}

nvmlReturn_t nvmlDeviceGetCount_v2(unsigned int *count)
{
    int slots[SLOTS];
    SYSTEM();
    *count = (unsigned int)enumerate(slots);
    return NVML_SUCCESS;
}

/* `gpu.N.handle = !4` fails here, at the handle, as a device that may not be opened does. */
static nvmlReturn_t open_slot(int slot, nvmlDevice_t *device)
{
    char key[64];
    snprintf(key, sizeof key, "gpu.%d.hang", slot);
    hang(key);
    snprintf(key, sizeof key, "gpu.%d.handle", slot);
    nvmlReturn_t rc = scripted("%s", key);
    if (rc == NVML_SUCCESS)
        *device = &devices[slot];
    return rc;
}

nvmlReturn_t nvmlDeviceGetHandleByIndex_v2(unsigned int index, nvmlDevice_t *device)
{
    int slots[SLOTS];
    SYSTEM();
    if ((int)index >= enumerate(slots))
        return NVML_ERROR_INVALID_ARGUMENT;
    return open_slot(slots[index], device);
}

static nvmlReturn_t open_by(const char *name, const char *wanted, nvmlDevice_t *device)
{
    char value[128];
    int slots[SLOTS], count = enumerate(slots);
    for (int i = 0; i < count; i++)
        if (text(value, sizeof value, slots[i], name) == NVML_SUCCESS && strcasecmp(value, wanted) == 0)
            return open_slot(slots[i], device);
    return NVML_ERROR_NOT_FOUND;
}

nvmlReturn_t nvmlDeviceGetHandleByUUID(const char *uuid, nvmlDevice_t *device)
{
    SYSTEM();
    return open_by("uuid", uuid, device);
}

nvmlReturn_t nvmlDeviceGetHandleByPciBusId_v2(const char *pci, nvmlDevice_t *device)
{
    SYSTEM();
    return open_by("pci", pci, device);
}

nvmlReturn_t nvmlDeviceGetIndex(nvmlDevice_t device, unsigned int *index)
{
    DEVICE(device);
    *index = (unsigned int)index_of(slot);
    return NVML_SUCCESS;
}
