#include "backends/qnn/chips.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/sizes.h"

/* Numbers, generations and memory are those of ExecuTorch 1.4.1, and of 1.5.1 (SC8380XP). SM7475 is not among them: its
 * number and generation stand in public tables and reports, the libraries take the number and refuse there what they
 * refuse on V69; its memory has no source and is the least that any of the others has, which a larger one holds. Who
 * sells what is for people, from public pages; where none was found it says what kind of device the chip is for.
 * Which ones of a late generation have no floats is from the open sources of other users of the libraries: LiteRT has
 * SAR2230P, an application's list the others.
 */
static const dlx_qnn_chip chips[] = {
    {"SM8350", 30, 68, 4, "Snapdragon 888", false},
    {"SM8450", 36, 69, 8, "Snapdragon 8 Gen 1", false},
    {"SM8475", 42, 69, 8, "Snapdragon 8+ Gen 1", false},
    {"SM7475", 54, 69, 2, "Snapdragon 7+ Gen 2", false},
    {"SM8550", 43, 73, 8, "Snapdragon 8 Gen 2", false},
    {"SM8650", 57, 75, 8, "Snapdragon 8 Gen 3", false},
    {"SM8750", 69, 79, 8, "Snapdragon 8 Elite", false},
    {"SM8845", 97, 81, 8, "Snapdragon 8 Gen 5", false},
    {"SM8850", 87, 81, 8, "Snapdragon 8 Elite Gen 5", false},
    {"QCM6490", 93, 68, 2, "Dragonwing QCM6490", false},
    {"QCS9100", 77, 73, 8, "Dragonwing IQ-9", false},
    {"SA8255", 52, 73, 8, "automotive", false},
    {"SA8295", 39, 68, 8, "automotive", false},
    {"SA8797", 72, 81, 16, "automotive", false},
    {"SAR2230P", 95, 81, 4, "AR glasses", true},
    {"SSG2115P", 46, 73, 2, "Snapdragon AR2 Gen 1", true},
    {"SSG2125P", 58, 73, 2, "Snapdragon AR1 Gen 1", true},
    {"SW6100", 96, 81, 4, "Snapdragon Wear Elite", false},
    {"SXR1230P", 45, 73, 2, "XR", true},
    {"SXR2230P", 53, 69, 8, "Snapdragon XR2 Gen 2", false},
    {"SXR2330P", 75, 79, 8, "XR", false},
    {"SC8380XP", 60, 73, 8, "Snapdragon X Elite", false},
};

const dlx_qnn_chip *dlx_qnn_chip_at(unsigned i)
{
    return i < DLX_COUNT(chips) ? &chips[i] : NULL;
}

dlx_status dlx_qnn_chip_find(const dlx_qnn_chip **out, const char *name, dlx_error *err)
{
    char known[256] = "";
    size_t used = 0;
    *out = NULL;
    for (size_t i = 0; name && i < DLX_COUNT(chips); i++)
        if (!strcasecmp(chips[i].name, name)) {
            *out = &chips[i];
            return DLX_OK;
        }
    for (size_t i = 0; i < DLX_COUNT(chips) && used < sizeof known; i++)
        used += (size_t)snprintf(known + used, sizeof known - used, "%s%s", i ? ", " : "", chips[i].name);
    if (!name) return dlx_fail(err, DLX_E_INVALID, "QNN programs are made for one chip, and none was named: %s", known);
    return dlx_fail(err, DLX_E_INVALID, "no chip '%.40s' is known to the QNN backend; expected one of %s", name, known);
}
