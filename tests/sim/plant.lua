--- `./dev mutate --sim [--head] [NAME...]`: plants one bug at a time (tests/sim/planted.lua) and lets
--- the simulator look for it, seed after seed. Prints how many seeds each took and what was seen.
--- Works on a copy of the tree below build/planted (--head: of what is committed), which a later run
--- brings up to date.
package.path = "./?.lua;" .. package.path
local process = require "spec.support.process"

local COPY = "build/planted"
local BUILD_SECONDS, FIND_SECONDS, SEEDS = 1800, 240, 4000

local only, head = {}, false
for _, word in ipairs(arg) do
    if word == "--head" then head = true elseif word ~= "--sim" then only[word] = true end
end

local text_files = require "spec.support.files"
local read, write = text_files.read, text_files.write

local function bash(script)
    local status, out, err = process.run({ "/bin/bash", "-euc", script }, { seconds = BUILD_SECONDS })
    if status ~= 0 then error(script .. "\n" .. out .. err, 2) end
end

--- Copies what differs, so that what did not change is not built again, and removes what is gone.
local function copy_tree()
    local files = head and "git archive HEAD | tar -x -C $copy.new"
        or [[git ls-files -z --cached --others --exclude-standard |
            while IFS= read -r -d '' f; do [ ! -f "$f" ] || printf '%s\0' "$f"; done |
            xargs -0 cp --parents -t $copy.new]]
    bash("copy=" .. COPY .. "\nrm -rf $copy.new; mkdir -p $copy $copy.new\n" .. files .. [[

        (cd $copy && find . -path ./build -prune -o -type f -print0) |
            while IFS= read -r -d '' f; do [ -f "$copy.new/$f" ] || rm -f "$copy/$f"; done
        (cd $copy.new && find . -type f -print0) | while IFS= read -r -d '' f; do
            cmp -s "$copy.new/$f" "$copy/$f" || (cd $copy.new && cp --parents "$f" ../$(basename $copy))
        done
        rm -rf $copy.new
        launcher=$(command -v ccache || true)
        cd $copy
        cmake -G Ninja -B build/sim -DCMAKE_BUILD_TYPE=RelWithDebInfo \
            ${launcher:+-DCMAKE_C_COMPILER_LAUNCHER=$launcher}
    ]])
end

local function build()
    local status, out, err = process.run({ "/usr/bin/ninja", "-j2", "-C", "build/sim", "usher-sim" },
        { cwd = COPY, seconds = BUILD_SECONDS })
    return status == 0, out .. err
end

--- Runs seeds until one fails. Returns the number of seeds it took and the first complaint, or nil.
local function search(seeds, seconds)
    local ok, status, text = pcall(process.run, { "/bin/bash", "-c",
        ("exec build/sim/usher-sim --until-failed --no-table --seeds %d --seconds %d 2>&1"):format(seeds, seconds) },
        { cwd = COPY, seconds = seconds + 400 })
    if not ok then return 0, tostring(status) end
    if status == 0 then return nil, text end
    local taken = text:match("first failed seed: (%d+)") or text:match("seed (%d+): crashes") or
        text:match("seed (%d+): hangs") or text:match("seed (%d+):")
    local said = text:match("seed %d+[^\n]*") or text
    local assertion = text:match("[^\n]*ssertion[^\n]*")
    return tonumber(taken) or 0, assertion and said .. " (" .. assertion .. ")" or said
end

local function replace_once(text, bug)
    local at, stop = text:find(bug.from, 1, true)
    if not at then return nil, "the text to break is gone" end
    if text:find(bug.from, stop + 1, true) then return nil, "the text to break is there more than once" end
    return text:sub(1, at - 1) .. bug.to .. text:sub(stop + 1)
end

--- Seeds needed, or nil, and what was seen or went wrong.
local function try(bug)
    local path = COPY .. "/" .. bug.file
    local original = read(path)
    local broken, gone = replace_once(original, bug)
    if not broken then return nil, gone end
    write(path, broken)
    local ok, built, why = pcall(build)
    local seeds, said
    if ok and built then seeds, said = search(SEEDS, FIND_SECONDS) end
    write(path, original)
    if not ok then error(built, 0) end
    if not built then return nil, "does not build: " .. (why:match("error: [^\n]*") or why) end
    return seeds, seeds and said or "NOT FOUND"
end

local planted = dofile("tests/sim/planted.lua")
local bugs, by_name = {}, {}
for _, mutant in ipairs(dofile("tests/mutants.lua")) do by_name[mutant.name] = mutant end
for _, name in ipairs(planted.known) do
    bugs[#bugs + 1] = by_name[name] or { name = name, breaks = "?", file = "README.md", from = "\0", to = "" }
end
for _, bug in ipairs(planted) do bugs[#bugs + 1] = bug end

copy_tree()
local built, why = build()
if not built then error("the tree does not build without any bug:\n" .. why, 0) end
local sound, text = search(30, 120)
if sound then error("the simulator complains without any bug: " .. text, 0) end

local found, missed = 0, 0
for _, bug in ipairs(bugs) do
    if next(only) == nil or only[bug.name] then
        local seeds, said = try(bug)
        if seeds then found = found + 1 else missed = missed + 1 end
        print(("%-26s %-6s %s\n%34s%s"):format(bug.name, seeds and ("%d"):format(seeds) or "-", bug.breaks, "", said))
        io.stdout:flush()
    end
end
print(("%d planted bugs found, %d not"):format(found, missed))
os.exit(missed == 0 and found > 0)
