/* MIG devices: compute instances of one GPU, at sparse indices. */
#define _GNU_SOURCE
#include "calls.h"

#include <stdio.h>

#ifndef FLAVOUR_OLD
nvmlReturn_t nvmlDeviceGetMigMode(nvmlDevice_t device, unsigned int *current, unsigned int *pending)
{
    DEVICE(device);
    return pair(current, pending, slot, "mig.mode", "mig.mode_pending");
}

/* Zero where MIG is off or not there, as nvml.h says. */
nvmlReturn_t nvmlDeviceGetMaxMigDeviceCount(nvmlDevice_t device, unsigned int *count)
{
    unsigned int mode = 0;
    DEVICE(device);
    *count = 0;
    if (narrow(&mode, slot, "mig.mode") != NVML_SUCCESS || !mode)
        return NVML_SUCCESS;
    if (narrow(count, slot, "mig.max_count") != NVML_SUCCESS)
        *count = 7;
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetMigDeviceHandleByIndex(nvmlDevice_t device, unsigned int index, nvmlDevice_t *mig)
{
    char value[128];
    unsigned int mode = 0;
    DEVICE(device);
    if (narrow(&mode, slot, "mig.mode") != NVML_SUCCESS)
        return NVML_ERROR_NOT_SUPPORTED;
    if (!mode || index >= MIG_PLACES || !state_text(value, sizeof value, "gpu.%d.mig.%u.uuid", slot, index))
        return NVML_ERROR_NOT_FOUND;
    *mig = &devices[SLOTS * (1 + (int)index) + slot];
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceIsMigDeviceHandle(nvmlDevice_t device, unsigned int *mig)
{
    DEVICE(device);
    *mig = (unsigned int)is_mig(slot);
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetDeviceHandleFromMigDeviceHandle(nvmlDevice_t device, nvmlDevice_t *parent)
{
    DEVICE(device);
    if (!is_mig(slot))
        return NVML_ERROR_INVALID_ARGUMENT;
    *parent = &devices[gpu_of(slot)];
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetGpuInstanceId(nvmlDevice_t device, unsigned int *id)
{
    DEVICE(device);
    return is_mig(slot) ? narrow(id, slot, "gi") : NVML_ERROR_INVALID_ARGUMENT;
}

nvmlReturn_t nvmlDeviceGetComputeInstanceId(nvmlDevice_t device, unsigned int *id)
{
    DEVICE(device);
    return is_mig(slot) ? narrow(id, slot, "ci") : NVML_ERROR_INVALID_ARGUMENT;
}

nvmlReturn_t nvmlDeviceGetAttributes_v2(nvmlDevice_t device, nvmlDeviceAttributes_t *attributes)
{
    nvmlReturn_t rc;
    DEVICE(device);
    if (!is_mig(slot))
        return NVML_ERROR_NOT_SUPPORTED;
    *attributes = (nvmlDeviceAttributes_t){0};
    if ((rc = narrow(&attributes->multiprocessorCount, slot, "multiprocessors")))
        return rc;
    narrow(&attributes->sharedCopyEngineCount, slot, "copy_engines");
    narrow(&attributes->sharedEncoderCount, slot, "encoders");
    narrow(&attributes->sharedDecoderCount, slot, "decoders");
    narrow(&attributes->sharedJpegCount, slot, "jpegs");
    narrow(&attributes->sharedOfaCount, slot, "ofas");
    return NVML_SUCCESS;
}
#endif
