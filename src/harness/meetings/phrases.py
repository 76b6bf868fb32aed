"""Data tables of the demo's generator: a grammar of meeting talk, and fourteen vocabularies.

A table maps a symbol to its alternatives, separated by ``|``; ``{symbol}`` inside an alternative
is expanded in turn. Fixed runs between two symbols are kept to a few words, so that meetings
rarely share eight words in a row. Verbs stand in the past or behind a modal, because a ``thing``
may be singular or plural.
"""

from dataclasses import dataclass


def _table(**symbols: str) -> dict[str, tuple[str, ...]]:
    return {
        name: tuple(" ".join(choice.split()) for choice in text.split("|"))
        for name, text in symbols.items()
    }


def _split(words: str) -> tuple[str, ...]:
    return tuple(words.split())


GRAMMAR = _table(
    # --- turns -------------------------------------------------------------------------------
    greeting="""
    Morning, everyone, let's start with {thing} and leave {thing} for the end.
    | Thanks for joining, {name}; I would like to hear about {issue} first.
    | Okay, we are all here, so {name}, where did you get to {place}?
    | Right, recording is on; {name} asked to open with {issue}.
    | Hi all, quick one today, mostly {thing} and whatever {group} sent over.
    | Good to see you, {name}; shall we {act} first or look at {thing}?
    | Welcome back, {group} could not make it, so we cover {thing} ourselves.
    | Afternoon, folks; {name} has news about {thing} and I have some about {issue}.
    | Let me share my screen, this is {thing} as of {day}.
    | Hello, {name}, before the others drop off, tell us about {issue}.""",
    closing="""
    That is time; {name} will {act} and I will write to {group}.
    | Let's stop there, I owe {name} a note on {issue}.
    | Great, so we {act}, {name} watches {thing}, and nobody touches the rest.
    | Thanks, all; if {thing} slips again, call {name} before {day}.
    | Good, I will put {issue} on the list and {act} myself.
    | We are out of minutes, so {name}, please {act} {future}.
    | Perfect, bye for now, and do tell {group} about {thing}.
    | I think we are done, apart from {issue}, which goes to {name}.""",
    report="""
    {thing} {gave_way} {past}, {because} {group} {reacted}.
    | I {looked} at {thing} {place} and {found} {issue}.
    | {group} {reacted} when we tried to {act} {place}.
    | {name} and I {counted} {num} {unit} {past}, {compare} {num}.
    | {past_start}, {issue} {cost} us {num} {unit}.
    | We {managed} to {act} {place}, {but} {thing} {gave_way}.
    | {hedge}, {thing} {held} better than {thing}.
    | The {adj} part was {issue}; {group} {reacted}.
    | {num_cap} {unit} went through {thing} {past} without {issue}.
    | {issue} {turned_up} again {place}, {num} {days} after {name} {looked}.
    | {group} want {num} {unit} {future}, {but} we only {counted} {num}.
    | My {adj} guess is that {issue} came from {thing}.
    | {name} {managed} to {act}, which {cost} {num} {days}.
    | {thing} {place} {held} for {num} {days}, then {gave_way}.
    | Nobody {looked} at {thing} since {group} left {past}.
    | It took {num} {days} to {act}, {because} {issue} {turned_up}.
    | I had {group} on the phone {past} and they {reacted}.
    | Out of {num} {unit}, {num} {gave_way} {place}.
    | We swapped {thing} for {thing} {past}, and {issue} {turned_up}.
    | What {name} {found} {place} was {adj}: {issue}, plus {num} {unit} missing.
    | {hedge}, {group} will {act} {future}, with or without {thing}.
    | The plan to {act} {gave_way} {past}, {because} {thing} {cost} too much.
    | On my side {thing} {held}, though {name} {found} {issue}.
    | Since {month}, {thing} {cost} us roughly {num} {unit} every week.""",
    question="""
    {name}, did {group} ever {act} {place}?
    | Who is meant to {act} if {thing} {gave_way} {future}?
    | How many {unit} does {thing} need before {day}?
    | Is {issue} what {name} {found}, or was that {thing}?
    | Could we {act} {future} without upsetting {group}?
    | Why would {issue} show up {place} and not near {thing}?
    | Has anyone told {group} that {thing} {gave_way}?
    | Do we still want {num} {unit}, or should we {act} first?
    | What happens to {thing} when {group} start {place}?
    | {name}, was it you who {looked} at {issue} {past}?
    | Can {group} live with {num} {unit} until {month}?
    | Would it be {adj} to {act} and leave {thing} alone?
    | When did {thing} last see {num} {unit} in one go?
    | Are we sure about {issue}, {because} {name} {found} nothing {place}?""",
    answer="""
    {yes}, {num} {unit}, {but} {name} wanted {num}.
    | {yes}; {group} {reacted} {past} and {managed} to {act}.
    | {no}, {thing} {held}, it was {issue} all along.
    | {no}, {because} {group} still have to {act} {place}.
    | {hedge}, {num} {days} at most, unless {issue} {turned_up}.
    | {name} would know, I only {looked} at {thing} {place}.
    | Not before {day}, {because} {thing} {cost} {num} {unit} already.
    | {yes}, I {looked} {past}, and {issue} was {adj}.
    | Half of it: we {managed} to {act}, {but} not {place}.
    | {no}, {group} {reacted}, so {name} stopped {past}.
    | Maybe {future}, once {group} {managed} to {act}.
    | {yes}, though {thing} {place} makes it {adj}.""",
    proposal="""
    {lets} {act} {future} and see whether {issue} goes away.
    | {lets} give {group} {num} {unit} and {act} ourselves.
    | I could {act} {place} while {name} handles {thing}.
    | {lets} move {thing} to {day}, {because} {group} {reacted}.
    | If {name} can {act} {future}, I will take {issue}.
    | Suppose {group} {managed} to {act}; then {thing} could wait until {month}.
    | {lets} keep {num} {unit} {place} in case {issue} {turned_up}.
    | My suggestion would be {adj}: {act}, then ask {group}.
    | {name}, take {thing}; I would rather {act} than chase {issue}.
    | {lets} not {act} until {thing} {held} for {num} {days}.
    | We might ask {group} to {act}, {but} only {place}.
    | {lets} write down {issue}, {thing}, and the {num} {unit} that {name} {counted}.""",
    objection="""
    {worry}: {issue} {cost} {num} {days} last time.
    | {worry}, {because} {thing} {place} {gave_way} {past}.
    | {no}, {group} would never {act} for {num} {unit}.
    | That sounds {adj}, {but} who tells {group} about {issue}?
    | Hold on, {name}, {thing} was never meant to {act}.
    | {worry}; {num} {unit} is {adj} with {thing} like that.
    | Careful, {group} {reacted} when {name} tried to {act}.
    | I am not convinced {issue} has anything to do with {thing}.
    | {worry}, and {num} {days} {place} would be {adj}.
    | The trouble is {issue}, {because} {name} {counted} {num} {unit}, not {num}.""",
    agreement="""
    {yes}, {act} {future}, that works for {group} too.
    | {yes}, and {thing} can stay {place}.
    | Fine by me, {name}, as long as {thing} {held}.
    | {yes}, I had {num} {unit} in mind as well.
    | Happy with that, {issue} can be {adj} to track otherwise.
    | {yes}, {group} said the same about {issue} {past}.
    | Same here, I would {act} before {day}.
    | {yes}, {num} {days} should cover {thing}.""",
    aside="""
    {name} smiled at that. | Sorry, I was muted. | Give me a second to find {thing}.
    | Someone at the door, carry on. | Noted. | That surprised me. | Go on, {name}.
    | I wrote that down. | Funny, {group} used the same word. | Right, {day} then.
    | Ah, {issue} again. | Let me check {thing}. | One moment. | Fair point, {name}.
    | You froze for a bit there, {name}. | Well, {adj}, in short.""",
    # --- planted secrets; {value} is near the end ---------------------------------------------
    passcode="""
    The keypad {place} changed {past}, {name}, it is now {value}.
    | For {thing} the new entry code is {value}.
    | {name}, when {group} ask, the shared login passcode is {value}.
    | I reset the lockbox next to {thing}, so please type {value} from {day}.
    | If you need to {act}, the alarm disarms with {value}.
    | The dashboard for {thing} wants a passcode, mine reads {value}.
    | {group} got their own access code {past}, which is {value}.
    | Write this down, {name}, the cabinet {place} opens with {value}.""",
    phone="""
    {name}, the best number for {group} is {value}.
    | If {thing} {gave_way}, ring the duty line on {value}.
    | I promised {group} a call back, they are at {value}.
    | The person who can {act} answers on {value} after {day}.
    | Text me about {issue}, my other phone is {value}.
    | Their contact {place} left {name} a number, {value}.
    | Anyone stuck with {thing} should dial {value}.
    | For {issue} we now have a hotline, {value}.""",
    amount="""
    The quote to {act} came back at {value}.
    | {name}, what we owe {group} comes to {value}.
    | Fixing {issue} {past} set us back {value}.
    | For {thing} alone the invoice says {value}.
    | If we {act} {future}, {group} will charge {value}.
    | The budget line for {thing} has room for {value}.
    | {group} offered to settle {issue} for {value}.
    | {num_cap} {unit} at that rate makes {value}.""",
    chat_passcode="""
    code for {thing}: {value} | {name} the new pin {place} is {value}
    | passcode {value} ({group} have it too) | use {value} when you {act}
    | door {place}: {value} | fyi {day} only, login {value}""",
    chat_phone="""
    {group}: {value} | call {value} about {issue} | {name} my cell {value}
    | number {place}: {value} | reach them on {value} if {thing} {gave_way}
    | {day} contact {value}""",
    chat_amount="""
    {thing} = {value} | {name} the quote was {value} | {group} want {value}
    | total for {num} {unit}: {value} | {value} to {act} | {issue} cost {value}""",
    # --- phrases -----------------------------------------------------------------------------
    gave_way="""failed | stalled | came apart | ran dry | jammed | went quiet | slipped | stopped
    | overran | dropped out | got stuck | fell behind""",
    held="""held up | worked | behaved | passed | looked fine | ran smoothly | kept going
    | stayed put | survived | did the job""",
    reacted="""complained | panicked | shrugged | agreed at once | asked for proof | sent a photo
    | walked out | laughed | pushed back | wanted it in writing | said thanks | kept silent
    | offered to help | changed their minds""",
    looked="""looked | poked around | went over the list | asked about | checked twice
    | took a picture | had a peek | stayed late""",
    found="""found | spotted | noticed | ran into | discovered | uncovered | came across
    | stumbled on""",
    counted="counted | logged | ordered | measured | booked | shipped | wrote off | received",
    managed="managed | got round | went ahead | tried hard | found a way | had the time",
    turned_up="turned up | came back | showed | appeared | crept in | surfaced | was there",
    cost="cost | took | ate | used up | burned | swallowed",
    compare="against | compared with | up from | down from | rather than | nowhere near",
    because="because | since | mainly as | now that | seeing that | given that",
    but="but | though | except that | only that | yet | and still",
    hedge="""honestly | as far as I can tell | from what {name} says | if you ask me | to be fair
    | going by {day} | in my book | on paper | unless I misread it | between us""",
    worry="""I worry about that | that makes me nervous | not so fast | I see a snag
    | let me push back | I would be careful | we tried that | hmm, I doubt it""",
    yes="""yes | sure | exactly | it did | they did | right | correct | absolutely | of course
    | I believe so | works""",
    no="no | not really | sadly not | hardly | not quite | I doubt it | never | nope",
    lets="""let's | we should | how about we | I would | maybe we | we could | can we
    | I say we""",
    adj="""odd | awkward | risky | cheap | clever | painful | tidy | messy | slow | obvious
    | tricky | boring | expensive | pleasant | unfair | urgent""",
    past="""on {day} | last {day} | {num} {days} ago | in {month} | over the weekend
    | the other {part} | {day} {part} | at the end of {month} | just after lunch | overnight
    | on the {ordinal}""",
    past_start="""on {day} | last {day} | in {month} | over the weekend | {num} {days} ago
    | the other {part} | by the {ordinal} | late {day}""",
    future="""by {day} | next {day} | in {num} {days} | before {month} ends | on {day} {part}
    | once it is quiet | by the {ordinal} | this {part} | early in {month} | straight after this""",
    day="Monday | Tuesday | Wednesday | Thursday | Friday | Saturday | Sunday",
    part="morning | afternoon | evening | lunchtime | night",
    days="days | hours | shifts | weeks | evenings | mornings",
    month="""January | February | March | April | May | June | July | August | September
    | October | November | December""",
    ordinal="""second | third | fourth | fifth | sixth | eighth | ninth | eleventh | twelfth
    | fifteenth | seventeenth | twentieth | twenty-third | twenty-eighth | thirtieth""",
    num="""two | three | four | five | six | seven | eight | nine | eleven | twelve | thirteen
    | fourteen | fifteen | sixteen | eighteen | nineteen | twenty | twenty-two | twenty-five
    | twenty-seven | thirty | thirty-four | thirty-eight | forty | forty-one | forty-six
    | fifty-two | sixty | seventy-three | eighty | ninety | ninety-seven""",
    num_cap="""some forty | a good dozen | twenty-one | seventeen | about fifty | thirty-three
    | nearly sixty | sixty-four | at least nine | just under eighty | ten or so | a hundred""",
)


@dataclass(frozen=True, slots=True)
class Topic:
    """A recurring series' subject: its title, department tag, time zone and vocabulary."""

    title: str
    tag: str
    timezone: str
    words: dict[str, tuple[str, ...]]


TOPICS = (
    Topic("Brewhouse weekly", "production", "Europe/Berlin", _table(
        thing="""the mash tun | the glycol chiller | the bottling line | the wheat beer batch
        | the yeast starter | our label printer | the grain silo | the new kettle
        | the cask washer | the pilsner recipe | the carbonation stone | the hop freezer""",
        issue="""a stuck sparge | sour notes in the lager | cracked crown caps | a foaming tank
        | low attenuation | a hop shortage | chlorine in the water | a cloudy filter run
        | mislabelled kegs""",
        act="""dry-hop the amber ale | purge the bright tank | recalibrate the hydrometer
        | pitch fresh yeast | rinse the kegs | mill the malt finer | taste the barrels
        | rewrite the cleaning log | lower the mash temperature | cellar the stout""",
        place="""in the cellar | behind the brewhouse | on the packing floor | at the taproom
        | beside tank six | in cold storage""",
        group="""the cellar crew | the maltsters | the tax inspectors | the taproom staff
        | the keg drivers | the hop growers""",
        unit="kegs | hectolitres | malt sacks | cases | bottles | growlers")),
    Topic("Bridge inspection", "engineering", "America/Chicago", _table(
        thing="""the north abutment | the expansion joint | the strain gauges | the east pylon
        | the deck overlay | the traffic plan | the rope access kit | the scour survey
        | the guard rail | the drone footage | the bearing pads | the load model""",
        issue="""hairline cracks | rust on the hangers | a loose anchor bolt | spalled concrete
        | a blocked drain | uneven settlement | fatigue in a weld | missing rebar drawings
        | an illegal load""",
        act="""close the outer lane | grout the bearing | core the deck | retension the cables
        | rerun the finite elements | paint the girders | photograph each rivet
        | lower the speed limit | scan the footing | brief the ferry""",
        place="""under span four | on the west bank | at the toll booth | along the walkway
        | near pier two | in the site trailer""",
        group="""the highway patrol | the divers | the steel fabricators | the county board
        | the night welders | the commuters""",
        unit="bolts | lane closures | core samples | tonnes | gauge readings | girders")),
    Topic("Paediatric ward rota", "clinic", "Europe/London", _table(
        thing="""the night rota | the handover sheet | the infusion pumps | the play room
        | the discharge letters | the isolation cubicle | the drug fridge | the on-call phone
        | the triage board | the nebuliser | the parents' lounge | the bleep system""",
        issue="""a double-booked bed | late blood results | an allergy mix-up | a gap in cover
        | the winter cough wave | an expired antibiotic | tired registrars
        | a lost consent slip | noisy alarms""",
        act="""swap two long shifts | restock the crash trolley | weigh every infant
        | phone the pharmacist | open a side room | train the bank nurses | audit hand washing
        | shorten the ward round | update the vaccine list | move the cots""",
        place="""on the ward | in bay three | at the nurses' station | in radiology
        | by the lifts | in outpatients""",
        group="""the registrars | the play specialists | the bed managers | the parents
        | the bank nurses | the porters""",
        unit="beds | doses | referrals | shifts covered | inhalers | blood forms")),
    Topic("Seed library", "community", "America/New_York", _table(
        thing="""the bean collection | the germination tray | the seed cabinet | the loan cards
        | the compost bay | the tomato catalogue | the rain barrel | the greenhouse heater
        | the squash patch | the pollinator strip | the spring newsletter | the tool shed""",
        issue="""weevils in the corn | poor germination | damp envelopes | cross-pollinated kale
        | an unlabelled jar | slug damage | a late frost | powdery mildew | borrowers who forget""",
        act="""thresh the lentils | relabel the drawers | sow a test row | dry the pods
        | invite the school | isolate the peppers | water at dawn | swap with the next town
        | clean the sieves | graft the old apple""",
        place="""in the reading room | along the fence | under the cloches | at the allotment
        | on the top shelf | behind the church""",
        group="""the beekeepers | the library board | the third graders | the old growers
        | the garden club | the volunteers""",
        unit="packets | seedlings | loans | jars | raised beds | trays")),
    Topic("Warehouse robotics", "logistics", "America/Los_Angeles", _table(
        thing="""the picker arm | the charging dock | the barcode camera | the conveyor merge
        | the fleet scheduler | the safety lidar | the tote shuttle | the map update
        | the gripper pads | the battery swap | the return station | the simulation""",
        issue="""a ghost obstacle | drifting odometry | a torn belt | slow firmware
        | collisions at the merge | glare on the scanner | a dead cell | duplicate totes
        | a deadlock in aisle nine""",
        act="""retrain the grasp planner | repaint the floor markers | cap the top speed
        | swap the wheel hubs | roll back the scheduler | fence the test lane
        | log every emergency stop | widen the turning radius | tune the vacuum
        | replay the night traffic""",
        place="""in aisle nine | on the mezzanine | at dock five | inside the cage
        | near the freezer door | on the test lane""",
        group="""the shift leads | the integrator's people | the pickers | the safety officers
        | the firmware folks | the forklift drivers""",
        unit="totes | picks an hour | pallets | battery packs | reboots | scans")),
    Topic("Regional opera planning", "arts", "Europe/Vienna", _table(
        thing="""the revolving stage | the second act | the chorus schedule | the surtitles
        | the wig budget | the orchestra pit | the matinee | the lighting plot | the costume van
        | the programme book | the prompter's desk | the fly tower""",
        issue="""a hoarse tenor | late set drawings | a flat harp | an empty balcony
        | a clash with the ballet | torn gauze | squeaky floorboards | a missing cue
        | double-sold seats""",
        act="""recast the page boy | cut the ballet music | rehearse the storm scene
        | tune the harpsichord | dye the cloaks | reprint the posters | hire an understudy
        | block the finale | hang the backdrop | film the dress run""",
        place="""in the wings | at the box office | on the rehearsal stage | in the paint shop
        | up in the gallery | backstage""",
        group="""the stagehands | the brass section | the donors | the chorus | the wardrobe team
        | the critics""",
        unit="tickets | costumes | rehearsals | subscribers | cues | posters")),
    Topic("Harbour operations", "port", "Europe/Amsterdam", _table(
        thing="""the tide gate | the pilot boat | the crane rail | the reefer stacks
        | the customs queue | the radar mast | the bunker barge | the mooring plan
        | the dredging contract | the quay lights | the tug roster | the berth calendar""",
        issue="""a silted channel | thick fog | a snapped hawser | an oil sheen
        | a strike notice | mixed-up manifests | a listing barge | a stray container
        | a broken fender""",
        act="""sound the basin | reroute the feeder | lash the top tier | fumigate the hold
        | call a second tug | weigh the boxes again | dredge the turning circle
        | inspect the gangways | shift the bulk carrier | fly the warning flag""",
        place="""at berth eleven | outside the breakwater | on the outer quay | in the yard
        | by the lock | in the control tower""",
        group="""the pilots | the stevedores | the coast guard | the customs officers
        | the shipping agents | the lock keepers""",
        unit="containers | sailings | metric tons | mooring lines | reefers | trucks")),
    Topic("Payroll migration", "finance", "America/Toronto", _table(
        thing="""the pension file | the old ledger | the overtime rule | the test payslips
        | the bank export | the holiday accrual | the tax tables | the approval screen
        | the audit trail | the cutover weekend | the severance form | the mapping sheet""",
        issue="""a rounding error | duplicate employees | a rejected batch | missing tax codes
        | negative balances | an early cutoff | stale exchange rates | a locked account
        | a wrong cost centre""",
        act="""reconcile the totals | freeze the old system | rerun the March batch
        | mask the test data | split the bonus run | reissue the payslips
        | document the exceptions | load the leavers | sign off the parallel run
        | ask for an extension""",
        place="""in the sandbox | at head office | on the shared drive | in the Quebec branch
        | within treasury | on the help desk""",
        group="""the auditors | the union reps | the branch managers | the consultants
        | the pensioners | the bank's people""",
        unit="payslips | ledger lines | tickets | employees | exceptions | adjustments")),
    Topic("Reef survey", "science", "Australia/Brisbane", _table(
        thing="""the transect tape | the dive compressor | the coral nursery | the sonar fish
        | the bleaching map | the tide logger | the research permit | the spare regulator
        | the photo quadrats | the zodiac | the sediment trap | the species key""",
        issue="""crown-of-thorns outbreaks | poor visibility | a flooded housing
        | a drifting mooring | jellyfish stings | algae on the frames | a lost logger
        | anchor damage | mislabelled vials""",
        act="""tag the staghorn | count the parrotfish | calibrate the salinity probe
        | refill the tanks | retrieve the loggers | glue the fragments | repeat the drift dive
        | freeze the tissue samples | plot the cover | lend out the hydrophone""",
        place="""on the outer reef | at site seven | in the wet lab | below the drop-off
        | off the sandbar | aboard the tender""",
        group="""the rangers | the honours students | the charter skippers | the traditional owners
        | the taxonomists | the dive medics""",
        unit="quadrats | dives | fragments | tissue vials | sea stars | survey hours")),
    Topic("School kitchen", "catering", "Europe/Dublin", _table(
        thing="""the combi oven | the allergy chart | the salad bar | the dishwasher
        | the delivery slot | the vegetarian menu | the breakfast club | the till system
        | the walk-in fridge | the curry day | the fruit order | the serving hatch""",
        issue="""soggy chips | a nut warning | leftover soup | a broken thermostat
        | long queues | rising egg prices | a fire drill at noon | bruised pears
        | unpaid lunch accounts""",
        act="""batch the lasagne | thaw the fish overnight | trial smaller plates
        | change the bread supplier | deep clean the fryer | label every tray
        | cook without gluten | survey the pupils | stagger the sittings | grow our own herbs""",
        place="""at the hatch | in the dry store | in the junior hall | by the bins
        | on the loading bay | across the yard""",
        group="""the dinner ladies | the prefects | the dieticians | the milk people
        | the year sevens | the governors""",
        unit="portions | trays of lasagne | crates | meal cards | kilos of carrots | cartons")),
    Topic("Museum conservation", "heritage", "Europe/Rome", _table(
        thing="""the bronze helmet | the humidity cabinet | the fresco panel | the loan contract
        | the textile drawer | the varnish test | the marble torso | the x-ray plates
        | the display case | the courier crate | the gilded frame | the condition report""",
        issue="""flaking pigment | bronze disease | woodworm | a hairline fracture
        | light damage | an insurance gap | a failed adhesive | soot on the ceiling
        | a disputed provenance""",
        act="""consolidate the paint layer | lower the lux level | mount the fragments
        | clean a test square | sample the binder | fumigate the chest | redraw the catalogue
        | line the canvas | rotate the parchments | catalogue the shards""",
        place="""in the west gallery | in the lab | at the lender's | in deep storage
        | on the scaffold | in quarantine""",
        group="""the curators | the lenders | the couriers | the night guards
        | the restorers | the archaeologists""",
        unit="shards | swabs | crates | pigment samples | panels | lux hours")),
    Topic("Cycling network", "transport", "Europe/Copenhagen", _table(
        thing="""the contraflow lane | the counter loop | the bike hangar | the signal timing
        | the harbour ramp | the winter plan | the school street | the cargo bay
        | the crossing design | the sweeper truck | the petition | the underpass mural""",
        issue="""parked vans | black ice | a vandalised counter | angry shopkeepers
        | a blind corner | faded paint | a drainage dip | scooter clutter | tree roots""",
        act="""widen the ramp | repaint the chevrons | time the green wave | plant bollards
        | grit before six | poll the parents | resurface the canal path | film the crossing
        | move the bus stop | light the tunnel""",
        place="""on the ring road | at the station | near the bakery | by the canal
        | outside the school | through the underpass""",
        group="""the shopkeepers | the bus operators | the couriers | the district council
        | the road crew | the parents' league""",
        unit="riders | bollards | parking spots | near misses | metres | signatures")),
    Topic("Observatory scheduling", "science", "America/Santiago", _table(
        thing="""the main mirror | the spectrograph | the dome motor | the guide star catalogue
        | the queue software | the cryostat | the comet proposal | the seeing monitor
        | the data link | the calibration lamp | the laser permit | the pointing model""",
        issue="""high winds | a warm detector | satellite trails | a stuck shutter
        | dust on the corrector | a lost night | clouds from the coast | a bad flat field
        | an overbooked quarter""",
        act="""realign the secondary | cool the detector | rerank the proposals | wash the mirror
        | chase the supernova | bin the exposures | pause the survey | archive the raw frames
        | repoint at the cluster | retake the darks""",
        place="""on the ridge | in the control room | at the residence | under the dome
        | in the clean room | down in the valley""",
        group="""the night assistants | the visiting observers | the time committee
        | the optics shop | the students | the network operators""",
        unit="exposures | arcseconds | proposals | clear nights | dark frames | targets")),
    Topic("Apprenticeship board", "education", "Europe/Zurich", _table(
        thing="""the welding module | the exam calendar | the logbook app | the lathe
        | the grading rubric | the summer camp | the mentor list | the safety test
        | the travel grant | the drawing course | the open day | the portfolio review""",
        issue="""a failed retake | absent mentors | an unsigned contract | a worn chuck
        | outdated textbooks | a timetable clash | homesick first-years | a broken projector
        | unclear grades""",
        act="""pair up the starters | shorten the theory block | visit the workshops
        | sharpen the cutters | grade the portfolios | rewrite question four
        | invite the employers | repeat the soldering test | translate the handbook
        | extend the probation""",
        place="""in the workshop | at the vocational college | in hall two | on the test bench
        | in the mentors' room | at the fair""",
        group="""the employers | the examiners | the second-years | the mentors
        | the canton's office | the careers advisers""",
        unit="logbooks | apprentices | exam papers | placements | workpieces | credits")),
)  # fmt: skip

FIRST_NAMES = _split(
    """
    Aaliyah Adaeze Ahmed Aiko Alejandro Amara Anders Anneliese Arjun Astrid Baraka Beatriz
    Bogdan Camille Chidi Chiara Dagny Darius Deepika Dmitri Ebba Edwin Eilidh Emeka Esra Fatima
    Felipe Fiona Florian Freya Gabor Gita Gustavo Hana Haruto Hedda Hyejin Ifeoma Ilse Imran
    Ines Ioana Jamal Jasper Joaquín Kamala Karim Kateryna Kenji Kwame Laszlo Leilani Lucía
    Magnus Malika Mateusz Meera Mikkel Nadia Niamh Nikhil Noor Olumide Oksana Paloma Priya
    Quentin Rafael Renske Rohan Ruta Samira Sanjay Sinead Søren Tamsin Tariq Thandiwe Tomás
    Uchenna Ulrike Valeria Vikram Wanjiru Wiktor Xiomara Yara Yusuf Zoë"""
)

SURNAMES = _split(
    """
    Abara Acheampong Aguirre Andersson Asante Bagheri Balogun Barzani Bergqvist Bianchi Bouchard
    Brandt Calloway Castellanos Chowdhury Cissé Dabrowski Dalgaard Delacroix Dlamini Dragomir
    Eklund Eriksen Farouk Fernandes Fitzgerald Forsberg Gallagher Ghosh Grigoryan Haddad
    Halvorsen Hashimoto Hendricks Horvath Ibarra Iyer Jankowski Jovanovic Kaplan Kaur Khalil
    Kimura Kowalczyk Lindqvist Lombardi MacLeod Mahlangu Marchetti Mbeki Mendoza Moreau Murakami
    Nakamura Novak Nwosu Oduya Okafor Olsen Ortega Osei Papadakis Pereira Petrov Quispe Rahimi
    Raman Rasmussen Rinaldi Rodrigues Sandoval Santos Schreiber Silva Sokolov Svensson Takahashi
    Tanaka Thorne Tkachenko Underhill Valdez Vasquez Verma Visser Wachira Weber Yilmaz Zapata
    Zieliński"""
)

UNIDENTIFIED = ("Guest iPhone", "14155550100")

AREA_CODES = _split(
    """
    201 206 212 213 214 215 216 248 303 305 312 313 314 404 412 415 425 503 504 510 512 602 607
    612 617 619 646 702 713 718 770 801 813 857 904 916 919 971"""
)
