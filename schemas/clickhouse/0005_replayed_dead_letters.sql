-- A dead letter that is sent again bears the header ce_replayof, the dead letter's id: without it the record would be named
-- like the one that is refused, and left out of the events with it.

ALTER TABLE {database}.events_raw ADD COLUMN IF NOT EXISTS replay_of String DEFAULT '';

ALTER TABLE {database}.dead_letters_raw ADD COLUMN IF NOT EXISTS replay_of String DEFAULT '';

-- state: `open`; `replayed`: a record that was sent in its place is among the events; `refused again`: that record is a dead
-- letter itself. replayed_as is the place of that record, TOPIC/PARTITION/OFFSET.
CREATE OR REPLACE VIEW {database}.dead_letters AS
WITH
    replayed AS (
        SELECT replay_of, argMin(concat(topic, '/', toString(partition), '/', toString(offset)), offset) AS place
        FROM {database}.events_raw
        WHERE replay_of != '' AND record NOT IN (SELECT record FROM {database}.dead_letters_raw)
        GROUP BY replay_of
    ),
    refused AS (
        SELECT replay_of, argMax(concat(topic, '/', toString(partition), '/', toString(offset)), offset) AS place
        FROM {database}.dead_letters_raw
        WHERE replay_of != ''
        GROUP BY replay_of
    )
SELECT d.id AS id, d.time AS time, d.recorded_time AS recorded_time, d.topic AS topic, d.partition AS partition,
       d.offset AS offset, d.reason AS reason, d.field AS field, d.raw AS raw, d.key AS key, d.headers AS headers,
       d.recorded_at AS recorded_at, d.code_version AS code_version, d.event_id AS event_id, d.hash AS hash, d.record AS record,
       multiIf(e.replay_of != '', 'replayed', r.replay_of != '', 'refused again', 'open') AS state,
       nullIf(if(e.replay_of != '', e.place, r.place), '') AS replayed_as,
       d.replay_of AS replay_of
FROM (SELECT * FROM {database}.dead_letters_raw FINAL) AS d
LEFT JOIN replayed AS e ON d.id = e.replay_of
LEFT JOIN refused AS r ON d.id = r.replay_of;
